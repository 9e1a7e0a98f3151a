"""What all scans over time share: entering, firing, resetting, leaving.

The loop itself stays in each neuron's file, over `x.unbind(0)` and never over `x[t]`: the
backward of a select allocates a whole `[T, B, N]` per step, so its cost grows with T squared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegrad.checks import (
    check_choice,
    check_current,
    check_flag,
    check_parameter,
    check_state,
    check_steps,
)
from spikegrad.errors import UserError, message
from spikegrad.surrogate import Surrogate, spike
from spikegrad.types import Gain, Reset, State, Trace, Value

__all__ = ["Record", "Rule", "enter", "input_gain", "rest", "scan_dtype"]


def scan_dtype(x: Tensor) -> torch.dtype:
    """The dtype membranes live in: float32 for half types, else that of x."""
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def enter(x: Tensor, state: State, kind: type, **parameters: Value) -> Tensor:
    """Check input, state and parameters; return x in the scan's dtype."""
    check_current(x)
    dtype = scan_dtype(x)
    if state is not None:
        check_state(state, kind, x, dtype)
    for name, value in parameters.items():
        check_parameter(value, name, x)
    return x.to(dtype)


def rest(x: Tensor, value: Value = 0.0) -> Tensor:
    """A membrane `[B, *features]` at rest."""
    if isinstance(value, Tensor):
        return value.to(x.dtype).expand(x.shape[1:]).clone()
    return x.new_full(x.shape[1:], value)


def input_gain(gain: Gain, decay: Value) -> Value:
    """1 ("unit") or `1 - decay` ("leak"), what the input is multiplied by."""
    check_choice(gain, "gain", ("unit", "leak"))
    return 1.0 if gain == "unit" else 1.0 - decay


@dataclass(frozen=True)
class Rule:
    """How a neuron spikes and resets; the same for every step.

    drop: what a reset by subtraction subtracts, None for `threshold - v_rest`.

    The refractory gate and its counter follow the hard spike as a constant, in soft mode too.
    `detach` cuts the gradient through the reset's spike only; threshold and v_reset keep theirs.
    """

    surrogate: Surrogate
    slope: Tensor | None
    threshold: Value
    v_rest: Value
    v_reset: Value
    reset: Reset
    detach: bool
    refractory: int
    drop: Value | None = None

    def __post_init__(self) -> None:
        if self.drop is not None and self.reset != "subtract":
            raise UserError(
                message(
                    "expected reset='subtract' with drop, the amount to subtract",
                    f"reset={self.reset!r}",
                    "omit drop",
                )
            )
        check_choice(self.reset, "reset", ("subtract", "zero", "none"))
        check_flag(self.detach, "detach_reset")
        check_steps(self.refractory, "refractory")

    def step(
        self, u: Tensor, distance: Tensor, silent: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Spikes, the membrane after reset, and the refractory counter, of one step."""
        s, silent = self.fire(distance, silent)
        return s, self.restore(u, s), silent

    def fire(self, distance: Tensor, silent: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Spike where `distance = u - theta >= 0`, unless still refractory."""
        s = spike(distance, self.surrogate, self.slope)
        if self.refractory == 0:
            return s, None
        if silent is None:
            silent = torch.zeros_like(distance, dtype=torch.int32)
        ready = silent == 0
        fired = (distance.detach() >= 0) & ready
        longest = torch.full_like(silent, self.refractory)
        return s * ready.to(s.dtype), torch.where(fired, longest, (silent - 1).clamp(min=0))

    def restore(self, u: Tensor, s: Tensor) -> Tensor:
        """`v = u - s (threshold - v_rest)`, `v = u + s (v_reset - u)`, or `v = u`."""
        if self.reset == "none":
            return u
        s = s.detach() if self.detach else s
        if self.reset == "subtract":
            return u - s * (self.threshold - self.v_rest if self.drop is None else self.drop)
        return u + s * (self.v_reset - u)


class Record:
    """What a scan collects step by step: spikes, and on request membranes and distances."""

    def __init__(self, *, trace: bool) -> None:
        self.trace = trace
        self.spikes: list[Tensor] = []
        self.membranes: list[Tensor] = []
        self.distances: list[Tensor] = []

    def add(self, s: Tensor, u: Tensor, distance: Tensor) -> None:
        """One step."""
        self.spikes.append(s)
        if self.trace:
            self.membranes.append(u)
            self.distances.append(distance)

    def result(self, x: Tensor, end: State) -> Any:
        """`(s, state)`, or with a trace `(s, state, Trace)`."""
        out = torch.stack(self.spikes).to(x.dtype)
        if not self.trace:
            return out, end
        return out, end, Trace(x, torch.stack(self.membranes), torch.stack(self.distances), out)
