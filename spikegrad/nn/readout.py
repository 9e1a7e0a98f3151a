"""Leaky integrator layer, the usual readout. Equations: `functional.li`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from spikegrad.checks import check_choice
from spikegrad.nn.base import Neuron, words
from spikegrad.nn.quantity import Decay, Size
from spikegrad.types import Backend, Gain, Integration, Value

__all__ = ["LI"]


class LI(Neuron):
    """Leaky integrators, which never spike.

    tau_mem: time constant (ms), or the decay `beta`; gain: "leak" (default: the membrane is an
    average of its input) or "unit"; learn may name "tau_mem".

    >>> import torch
    >>> u, state = LI(20.0)(torch.ones(5, 2, 3))
    >>> u.shape
    torch.Size([5, 2, 3])
    """

    scan = "li"

    def __init__(
        self,
        tau_mem: Value | None = None,
        *,
        beta: Value | None = None,
        gain: Gain = "leak",
        integration: Integration = "exponential",
        dt: float = 1.0,
        learn: str | Iterable[str] = (),
        size: Size = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(backend)
        check_choice(gain, "gain", ("unit", "leak"))
        self.gain: Gain = gain
        self.dt = dt
        self.learn = words(learn, ("tau_mem",))
        self.decay_mem = Decay(
            tau_mem,
            beta=beta,
            dt=dt,
            integration=integration,
            learn="tau_mem" in self.learn,
            size=size,
        )

    def tau_mem(self) -> Tensor:
        """The membrane's time constant now (ms), a scalar or `[*features]`."""
        return self.decay_mem.tau()

    def quantities(self) -> dict[str, Any]:
        return {"beta": self.decay_mem(), "gain": self.gain}
