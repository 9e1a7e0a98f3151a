"""Integrate-and-fire layers: `LIF` with a leak, `IF` without. Equations: `functional.lif`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.checks import check_choice, check_flag, check_number
from spikegrad.errors import UserError, message
from spikegrad.functional.delayed import DELAYED_LIF
from spikegrad.nn.base import SpikingNeuron
from spikegrad.nn.quantity import Decay, Quantity
from spikegrad.step import Step
from spikegrad.types import Gain, Integration, Value

__all__ = ["IF", "LIF"]


class IF(SpikingNeuron):
    """Integrate-and-fire neurons, `u[t] = v[t-1] + x[t]`. Arguments: `SpikingNeuron`.

    >>> import torch
    >>> s, state = IF(threshold=1.0)(torch.full((4, 1, 1), 0.5))
    >>> s.flatten().tolist()
    [0.0, 1.0, 0.0, 1.0]
    """

    scan = "integrate_and_fire"


class LIF(SpikingNeuron):
    """Leaky integrate-and-fire neurons.

    tau_mem: membrane time constant (ms), a number or a tensor (per neuron); beta: the decay per
    step, instead of tau_mem; gain: "unit" or "leak" (input times `1 - beta`); integration:
    "exponential" or "euler"; drop: what a reset by subtraction subtracts, a number or a tensor, by
    default `threshold - v_rest`; reset_delay: the reset comes with the next step, as snnTorch's by
    default (`functional.delayed_lif`); learn may name "tau_mem"; the rest: `SpikingNeuron`.
    Raises UserError for `tau_mem <= 0`, `dt <= 0`, Euler with `dt >= tau_mem`, unknown words.

    >>> import torch
    >>> layer = LIF(20.0, learn=("tau_mem", "threshold"), size=3)
    >>> s, state = layer(torch.ones(5, 2, 3))
    >>> s.shape, state.v.shape
    (torch.Size([5, 2, 3]), torch.Size([2, 3]))
    """

    scan = "lif"
    learnable = (*SpikingNeuron.learnable, "tau_mem")

    def __init__(
        self,
        tau_mem: Value | None = None,
        *,
        beta: Value | None = None,
        gain: Gain = "unit",
        integration: Integration = "exponential",
        drop: Value | None = None,
        reset_delay: bool = False,
        **spiking: Any,
    ) -> None:
        super().__init__(**spiking)
        check_choice(gain, "gain", ("unit", "leak"))
        check_flag(reset_delay, "reset_delay")
        if reset_delay and self.reset == "zero" and self.spike in ("ternary", "multiple"):
            expected = "expected reset='subtract' or 'none' with reset_delay and several spikes"
            raise UserError(message(expected, f"reset='zero', spike={self.spike!r}"))
        self.reset_delay = reset_delay
        self.gain: Gain = gain
        self.drop: Quantity | None = None
        if drop is not None:
            check_number(drop, "drop")
            if self.reset != "subtract":
                expected = "expected reset='subtract' with drop, the amount to subtract"
                raise UserError(message(expected, f"reset={self.reset!r}", "omit drop"))
            self.drop = Quantity(drop, size=spiking.get("size"))
        self.decay_mem = Decay(
            tau_mem,
            beta=beta,
            dt=self.dt,
            integration=integration,
            learn="tau_mem" in self.learn,
            size=spiking.get("size"),
        )

    def tau_mem(self) -> Tensor:
        """The membrane's time constant now (ms), a scalar or `[*features]`."""
        return self.decay_mem.tau()

    def quantities(self) -> dict[str, Any]:
        args = {**super().quantities(), "beta": self.decay_mem(), "gain": self.gain}
        return args if self.drop is None else {**args, "drop": self.drop()}

    def definition(self) -> Step | None:
        return self.variant_of(DELAYED_LIF) if self.reset_delay else super().definition()

    def extra_repr(self) -> str:
        return super().extra_repr() + (", reset_delay=True" if self.reset_delay else "")
