"""Readouts: the leaky integrator, and what becomes of an output over time.

u[t] = beta u[t-1] + gain x[t]          gain = 1 - beta ("leak") by default: u is an average
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from spikegrad.checks import check_choice, check_current
from spikegrad.functional import scan
from spikegrad.types import Gain, LIState, Trace, Value

__all__ = ["li", "over_time"]


def li(
    x: Tensor,
    state: LIState | None = None,
    *,
    beta: Value,
    gain: Gain = "leak",
    trace: bool = False,
) -> Any:
    """Leaky integrators, which never spike: the usual readout.

    x: input current `[T, B, *features]`; beta: decay per step.
    Returns `(u, state)`, membranes `[T, B, *features]`; with `trace=True` `(u, state, Trace)`.

    >>> u, _ = li(torch.ones(3, 1, 1), beta=0.5)
    >>> u.flatten().tolist()
    [0.5, 0.75, 0.875]
    """
    current = scan.enter(x, state, LIState, beta=beta)
    v = state.v if state is not None else scan.rest(current)
    g = scan.input_gain(gain, beta)
    membranes = []
    for x_t in current.unbind(0):
        v = beta * v + g * x_t
        membranes.append(v)
    u = torch.stack(membranes).to(x.dtype)
    return (u, LIState(v), Trace(x, u, None, None)) if trace else (u, LIState(v))


def over_time(y: Tensor, how: Literal["mean", "sum", "max", "last"] = "mean") -> Tensor:
    """An output sequence `[T, B, C]` as scores `[B, C]`.

    "mean" of spikes is their rate, "sum" their count; "max" and "last" are for membranes.

    >>> over_time(torch.tensor([[[0.0]], [[1.0]]])).item()
    0.5
    """
    check_current(y, name="y")
    check_choice(how, "readout", ("mean", "sum", "max", "last"))
    if how == "max":
        return y.amax(0)
    if how == "last":
        return y[-1]
    return y.mean(0) if how == "mean" else y.sum(0)
