"""Adaptive-threshold LIF layer. Equations: `functional.alif`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.checks import check_choice, check_number
from spikegrad.nn.base import SpikingNeuron
from spikegrad.nn.quantity import Decay, Quantity
from spikegrad.types import Gain, Integration, Value

__all__ = ["ALIF"]


class ALIF(SpikingNeuron):
    """Adaptive-threshold leaky integrate-and-fire neurons.

    tau_mem, tau_adapt: time constants of membrane and adaptation (ms), or the decays `beta`,
    `rho`; kappa: what one spike adds to the threshold; gain: "unit" or "leak"; integration of the
    membrane: "exponential" or "euler"; learn may name "tau_mem", "tau_adapt", "kappa"; the rest:
    `SpikingNeuron`.

    >>> import torch
    >>> s, state = ALIF(20.0, 100.0, kappa=0.5)(torch.ones(5, 2, 3))
    >>> state.a.shape
    torch.Size([2, 3])
    """

    scan = "alif"
    learnable = (*SpikingNeuron.learnable, "tau_mem", "tau_adapt", "kappa")

    def __init__(
        self,
        tau_mem: Value | None = None,
        tau_adapt: Value | None = None,
        *,
        beta: Value | None = None,
        rho: Value | None = None,
        kappa: Value = 0.2,
        gain: Gain = "unit",
        integration: Integration = "exponential",
        **spiking: Any,
    ) -> None:
        super().__init__(**spiking)
        check_number(kappa, "kappa")
        check_choice(gain, "gain", ("unit", "leak"))
        self.gain: Gain = gain
        size = spiking.get("size")
        self.decay_mem = Decay(
            tau_mem,
            beta=beta,
            dt=self.dt,
            integration=integration,
            learn="tau_mem" in self.learn,
            size=size,
        )
        self.decay_adapt = Decay(
            tau_adapt,
            beta=rho,
            dt=self.dt,
            learn="tau_adapt" in self.learn,
            size=size,
            name="tau_adapt",
        )
        self.kappa = Quantity(kappa, learn="kappa" in self.learn, size=size)

    def tau_mem(self) -> Tensor:
        """The membrane's time constant now (ms), a scalar or `[*features]`."""
        return self.decay_mem.tau()

    def tau_adapt(self) -> Tensor:
        """The adaptation's time constant now (ms), a scalar or `[*features]`."""
        return self.decay_adapt.tau()

    def quantities(self) -> dict[str, Any]:
        return {
            **super().quantities(),
            "beta": self.decay_mem(),
            "rho": self.decay_adapt(),
            "kappa": self.kappa(),
            "gain": self.gain,
        }
