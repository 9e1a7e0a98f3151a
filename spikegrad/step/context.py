"""What a step is given as `p`: the parameters by name, `spike` and `reset`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegrad.errors import UserError, message, unknown
from spikegrad.step.modes import BINARY, Mode, by_chance, sent
from spikegrad.types import Reset, Value

__all__ = ["Fired", "Firing", "Inputs", "Parameters", "States"]


@dataclass(frozen=True)
class Firing:
    """How a step's neurons spike and reset: what its layer chooses, not its equations.

    spike: from a distance to the threshold to spikes, with the surrogate's gradient; reset:
    "subtract", "zero" or "none"; detach: no gradient through the reset's spike; refractory: steps
    of silence after a spike; mode: one spike, several, of two signs, or by chance; chance: of a
    spike at a distance, None but with escape noise.
    """

    spike: Callable[[Tensor], Tensor]
    reset: Reset
    detach: bool
    refractory: Value
    mode: Mode = BINARY
    chance: Callable[[Tensor], Tensor] | None = None

    @property
    def has_refractory(self) -> bool:
        """Whether spikes are followed by silence."""
        return isinstance(self.refractory, Tensor) or self.refractory > 0


class Fired:
    """What one call of `p.spike` saw, and the steps of silence left after it.

    s: what is sent; any: 1 where anything is.
    """

    def __init__(
        self, u: Tensor, distance: Tensor, s: Tensor, any_: Tensor, silent: Tensor | None
    ) -> None:
        self.membrane, self.distance, self.s, self.any, self.silent = u, distance, s, any_, silent


class Parameters:
    """The parameters of one call by name; made anew for each step.

    silent: steps of silence left `[B, *features]`, None without a refractory period; noise: of this
    step, uniform in [0, 1), None without escape noise; rest: the name of the resting potential
    among the values, or a number.
    """

    def __init__(
        self,
        values: Mapping[str, Value],
        firing: Firing | None,
        silent: Tensor | None,
        noise: Tensor | None = None,
        rest: str | float = 0.0,
    ) -> None:
        self._names = tuple(values)
        self._firing = firing
        self._silent, self._noise = silent, noise
        self._rest = values[rest] if isinstance(rest, str) else rest
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
        `u - threshold`. A layer may ask for spikes of two signs, for several or for noise
        (`step/modes.py`). A step calls it once.
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
        firing, distance = self._firing, u - threshold
        if firing.chance is not None and self._noise is not None:
            out = by_chance(firing.spike, firing.chance(distance), distance, self._noise)
        else:
            out = sent(firing.mode, firing.spike, u, distance, threshold, self._rest)
        if not firing.has_refractory:
            self.fired = Fired(u, distance, out.s, out.any, None)
            return out.s
        silent = self._silent
        assert silent is not None
        ready = silent == 0
        fired = out.reached & ready
        # Plain numbers stay numbers: torch then keeps the counter's dtype.
        left = torch.where(fired, firing.refractory, (silent - 1).clamp(min=0))
        gate = ready.to(out.s.dtype)
        s = out.s * gate
        any_ = s if out.any is out.s else out.any * gate
        self.fired = Fired(u, distance, s, any_, left.to(silent.dtype))
        return s

    @property
    def reset_by(self) -> Reset:
        """The layer's reset: "subtract", "zero" or "none"."""
        return "none" if self._firing is None else self._firing.reset

    def reset(
        self, u: Tensor, fired: Tensor, *, drop: Value | None = None, to: Value | None = None
    ) -> Tensor:
        """The membrane after the layer's reset.

        "subtract": `u - fired drop`, drop by default `threshold - v_rest`, so that several spikes
        subtract it several times and a negative one adds it; "zero": to where a spike of any size
        was, by default `v_reset`; "none": u. A `v_rest` or `v_reset` that the neuron does not
        declare is 0.
        Raises UserError where spikes have several sizes, and fired is not what p.spike returned.
        """
        firing = self._firing
        if firing is None:
            raise UserError(message("expected p.reset in a spiking neuron", "spikes=False"))
        if firing.reset == "none":
            return u
        if firing.reset == "zero" and firing.mode.word in ("ternary", "multiple"):
            fired = self._of_any_size(fired)
        s = fired.detach() if firing.detach else fired
        if firing.reset == "subtract":
            return u - s * (self.threshold - self._or_zero("v_rest") if drop is None else drop)
        return u + s * ((self._or_zero("v_reset") if to is None else to) - u)

    def _of_any_size(self, fired: Tensor) -> Tensor:
        """1 where what p.spike returned is not 0."""
        if self.fired is None or fired is not self.fired.s:
            raise UserError(
                message(
                    "expected p.reset with what p.spike returned in the same step, for a reset to "
                    "a value by spikes of several sizes",
                    "something else",
                    "use reset='subtract', or spike='binary'",
                )
            )
        return self.fired.any

    def _or_zero(self, name: str) -> Value:
        value: Value = getattr(self, name) if name in self._names else 0.0
        return value


class States:
    """What a step is given as `s`: the states by name, `[B, *features]` each."""

    kind = "state"

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self._names = tuple(values)
        for name, value in values.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:  # of what is not there
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(unknown(f"{self.kind} of this neuron", name, self._names))


class Inputs(States):
    """What a step of several inputs is given as `x`: the currents by name, `[B, *features]`."""

    kind = "input"
