"""Current-based LIF layer. Equations: `functional.cuba_lif`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.checks import check_choice
from spikegrad.nn.base import SpikingNeuron
from spikegrad.nn.quantity import Decay
from spikegrad.types import Gain, Integration, Value

__all__ = ["CUBALIF"]


class CUBALIF(SpikingNeuron):
    """Current-based leaky integrate-and-fire neurons: the article's `SNNLayer`.

    tau_mem, tau_syn: time constants of membrane and synapse (ms), or the decays `beta`, `alpha`;
    gain_syn, gain_mem: "unit" or "leak"; integration_mem, integration_syn: "exponential" or
    "euler"; learn may name "tau_mem" and "tau_syn"; the rest: `SpikingNeuron`. As the article
    writes it: `CUBALIF(10.0, 5.0, gain_syn="leak", gain_mem="leak", integration_mem="euler",
    reset="zero")`.

    >>> import torch
    >>> s, state = CUBALIF(20.0, 5.0)(torch.ones(5, 2, 3))
    >>> state.i.shape
    torch.Size([2, 3])
    """

    scan = "cuba_lif"
    learnable = (*SpikingNeuron.learnable, "tau_mem", "tau_syn")

    def __init__(
        self,
        tau_mem: Value | None = None,
        tau_syn: Value | None = None,
        *,
        beta: Value | None = None,
        alpha: Value | None = None,
        gain_syn: Gain = "unit",
        gain_mem: Gain = "unit",
        integration_mem: Integration = "exponential",
        integration_syn: Integration = "exponential",
        **spiking: Any,
    ) -> None:
        super().__init__(**spiking)
        check_choice(gain_syn, "gain_syn", ("unit", "leak"))
        check_choice(gain_mem, "gain_mem", ("unit", "leak"))
        self.gain_syn: Gain = gain_syn
        self.gain_mem: Gain = gain_mem
        size = spiking.get("size")
        self.decay_mem = Decay(
            tau_mem,
            beta=beta,
            dt=self.dt,
            integration=integration_mem,
            learn="tau_mem" in self.learn,
            size=size,
        )
        self.decay_syn = Decay(
            tau_syn,
            beta=alpha,
            dt=self.dt,
            integration=integration_syn,
            learn="tau_syn" in self.learn,
            size=size,
            name="tau_syn",
        )

    def tau_mem(self) -> Tensor:
        """The membrane's time constant now (ms), a scalar or `[*features]`."""
        return self.decay_mem.tau()

    def tau_syn(self) -> Tensor:
        """The synapse's time constant now (ms), a scalar or `[*features]`."""
        return self.decay_syn.tau()

    def quantities(self) -> dict[str, Any]:
        return {
            **super().quantities(),
            "alpha": self.decay_syn(),
            "beta": self.decay_mem(),
            "gain_syn": self.gain_syn,
            "gain_mem": self.gain_mem,
        }
