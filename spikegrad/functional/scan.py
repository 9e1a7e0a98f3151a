"""What all scans over time share: entering, firing, resetting, leaving.

The loop itself stays in each neuron's file, over `x.unbind(0)` and never over `x[t]`: the
backward of a select allocates a whole `[T, B, N]` per step, so its cost grows with T squared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.checks import check_choice, check_current, check_parameter, check_state, check_steps
from spikegrad.surrogate import Surrogate, spike
from spikegrad.types import Gain, Reset, State, Value

__all__ = ["check_spiking", "enter", "fire", "input_gain", "rest", "restore", "scan_dtype"]


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


def check_spiking(reset: Reset, refractory: int) -> None:
    """The choices that every spiking scan has."""
    check_choice(reset, "reset", ("subtract", "zero", "none"))
    check_steps(refractory, "refractory")


def rest(x: Tensor, value: Value = 0.0) -> Tensor:
    """A membrane `[B, *features]` at rest."""
    if isinstance(value, Tensor):
        return value.to(x.dtype).expand(x.shape[1:]).clone()
    return x.new_full(x.shape[1:], value)


def input_gain(gain: Gain, decay: Value) -> Value:
    """1 ("unit") or `1 - decay` ("leak"), what the input is multiplied by."""
    check_choice(gain, "gain", ("unit", "leak"))
    return 1.0 if gain == "unit" else 1.0 - decay


def fire(
    distance: Tensor,
    silent: Tensor | None,
    *,
    surrogate: Surrogate,
    slope: Tensor | None,
    refractory: int,
) -> tuple[Tensor, Tensor | None]:
    """Spike where `distance = u - theta >= 0`, unless still refractory; return spikes and counter.

    The gate and the counter follow the hard spike as a constant, in soft mode too.
    """
    s = spike(distance, surrogate, slope)
    if refractory == 0:
        return s, None
    if silent is None:
        silent = torch.zeros_like(distance, dtype=torch.int32)
    ready = silent == 0
    fired = (distance.detach() >= 0) & ready
    counter = torch.where(fired, torch.full_like(silent, refractory), (silent - 1).clamp(min=0))
    return s * ready.to(s.dtype), counter


def restore(
    u: Tensor,
    s: Tensor,
    *,
    threshold: Value,
    v_rest: Value,
    v_reset: Value,
    reset: Reset,
    detach: bool,
) -> Tensor:
    """The membrane after reset: `v = u - s (threshold - v_rest)`, `v = u + s (v_reset - u)` or `u`.

    `detach` cuts the gradient through the spike only; threshold and v_reset keep theirs.
    """
    if reset == "none":
        return u
    s = s.detach() if detach else s
    if reset == "subtract":
        return u - s * (threshold - v_rest)
    return u + s * (v_reset - u)
