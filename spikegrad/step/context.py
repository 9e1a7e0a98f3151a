"""What a step is given as `p`: the parameters by name, `spike` and `reset`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegrad.errors import UserError, message, unknown
from spikegrad.types import Reset, Value

__all__ = ["Fired", "Firing", "Parameters", "States"]


@dataclass(frozen=True)
class Firing:
    """How a step's neurons spike and reset: what its layer chooses, not its equations.

    spike: from a distance to the threshold to spikes, with the surrogate's gradient; reset:
    "subtract", "zero" or "none"; detach: no gradient through the reset's spike; refractory: steps
    of silence after a spike.
    """

    spike: Callable[[Tensor], Tensor]
    reset: Reset
    detach: bool
    refractory: Value

    @property
    def has_refractory(self) -> bool:
        """Whether spikes are followed by silence."""
        return isinstance(self.refractory, Tensor) or self.refractory > 0


class Fired:
    """What one call of `p.spike` saw, and the steps of silence left after it."""

    def __init__(self, u: Tensor, distance: Tensor, s: Tensor, silent: Tensor | None) -> None:
        self.membrane, self.distance, self.s, self.silent = u, distance, s, silent


class Parameters:
    """The parameters of one call by name; made anew for each step.

    silent: steps of silence left `[B, *features]`, None without a refractory period.
    """

    def __init__(
        self, values: Mapping[str, Value], firing: Firing | None, silent: Tensor | None
    ) -> None:
        self._names = tuple(values)
        self._firing = firing
        self._silent = silent
        self.fired: Fired | None = None
        for name, value in values.items():
            setattr(self, name, value)

    def values(self) -> dict[str, Value]:
        """The parameters by name."""
        return {name: getattr(self, name) for name in self._names}

    def __getattr__(self, name: str) -> Any:  # of what is not there
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(unknown("parameter of this neuron", name, self._names))

    def spike(self, u: Tensor, threshold: Value) -> Tensor:
        """Spikes where the membrane u `[B, *features]` reaches the threshold.

        `s = [u >= threshold]`, 0 while the neuron is refractory; the gradient is the surrogate's at
        `u - threshold`. A step calls it once.
        Raises UserError for a second call, and in a neuron declared without spikes.
        """
        if self._firing is None or self.fired is not None:
            raise UserError(
                message(
                    "expected one call of p.spike in a step",
                    "a second one" if self.fired else "one in a neuron with spikes=False",
                    "a neuron has one threshold; add distances up before, or drop spikes=False",
                )
            )
        distance = u - threshold
        s = self._firing.spike(distance)
        if not self._firing.has_refractory:
            self.fired = Fired(u, distance, s, None)
            return s
        silent = self._silent
        assert silent is not None
        ready = silent == 0
        fired = (distance.detach() >= 0) & ready
        # Plain numbers stay numbers: torch then keeps the counter's dtype.
        left = torch.where(fired, self._firing.refractory, (silent - 1).clamp(min=0))
        s = s * ready.to(s.dtype)
        self.fired = Fired(u, distance, s, left.to(silent.dtype))
        return s

    @property
    def reset_by(self) -> Reset:
        """The layer's reset: "subtract", "zero" or "none"."""
        return "none" if self._firing is None else self._firing.reset

    def reset(
        self, u: Tensor, fired: Tensor, *, drop: Value | None = None, to: Value | None = None
    ) -> Tensor:
        """The membrane after the layer's reset.

        "subtract": `u - fired drop`, drop by default `threshold - v_rest`; "zero":
        `u + fired (to - u)`, to by default `v_reset`; "none": u. A `v_rest` or `v_reset` that the
        neuron does not declare is 0.
        """
        firing = self._firing
        if firing is None:
            raise UserError(message("expected p.reset in a spiking neuron", "spikes=False"))
        if firing.reset == "none":
            return u
        s = fired.detach() if firing.detach else fired
        if firing.reset == "subtract":
            return u - s * (self.threshold - self._or_zero("v_rest") if drop is None else drop)
        return u + s * ((self._or_zero("v_reset") if to is None else to) - u)

    def _or_zero(self, name: str) -> Value:
        value: Value = getattr(self, name) if name in self._names else 0.0
        return value


class States:
    """What a step is given as `s`: the states by name, `[B, *features]` each."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self._names = tuple(values)
        for name, value in values.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:  # of what is not there
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(unknown("state of this neuron", name, self._names))
