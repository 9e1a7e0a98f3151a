"""Readouts: the leaky integrator, and what becomes of an output over time.

u[t] = beta u[t-1] + gain x[t]          gain = 1 - beta ("leak") by default: u is an average
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from spikegrad.checks import check_choice, check_current, check_numbers
from spikegrad.functional.decay import input_gain
from spikegrad.ragged import check_lengths, mask_of
from spikegrad.step import Step
from spikegrad.types import Gain, LIState, Value

__all__ = ["LI", "li", "li_values", "over_time"]


def step(x: Tensor, s: Any, p: Any) -> Any:
    """One step of LI."""
    u = p.beta * s.v + p.gain * x
    return u, {"v": u}


LI = Step(
    step,
    name="li",
    states={"v": 0.0},
    parameters={"beta": 0.9, "gain": 0.1},
    state=LIState,
    spikes=False,
)


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

    >>> import torch
    >>> u, _ = li(torch.ones(3, 1, 1), beta=0.5)
    >>> u.flatten().tolist()
    [0.5, 0.75, 0.875]
    """
    return LI(x, state, trace=trace, **li_values(beta=beta, gain=gain))


def li_values(*, beta: Value, gain: Gain = "leak", **how: Any) -> dict[str, Any]:
    """What the step is called with, from the arguments of `li`."""
    check_numbers(beta=beta)
    return {"beta": beta, "gain": input_gain(gain, beta), **how}


def over_time(
    y: Tensor,
    how: Literal["mean", "sum", "max", "last"] = "mean",
    *,
    lengths: Tensor | None = None,
) -> Tensor:
    """An output sequence `[T, B, C]` as scores `[B, C]`.

    "mean" of spikes is their rate, "sum" their count; "max" and "last" are for membranes.
    lengths: int64 `[B]`, the steps of every sample, None for T each; what stands behind them does
    not count.

    >>> import torch
    >>> y = torch.tensor([[[0.0]], [[1.0]], [[0.0]]])
    >>> over_time(y, lengths=torch.tensor([2])).item()
    0.5
    """
    check_current(y, name="y")
    check_choice(how, "readout", ("mean", "sum", "max", "last"))
    if lengths is not None:
        return over_lengths(y, how, check_lengths(lengths, *y.shape[:2]).to(y.device))
    if how == "max":
        return y.amax(0)
    if how == "last":
        return y[-1]
    return y.mean(0) if how == "mean" else y.sum(0)


def over_lengths(y: Tensor, how: str, lengths: Tensor) -> Tensor:
    """`over_time` of the real steps."""
    of_samples = [-1, *[1] * (y.dim() - 2)]
    if how == "last":
        return y[lengths - 1, torch.arange(len(lengths), device=y.device)]
    real = mask_of(lengths, len(y)).reshape(len(y), *of_samples)
    if how == "max":
        return torch.where(real, y, -torch.inf).amax(0)
    total = torch.where(real, y, 0.0).sum(0)
    return total / lengths.reshape(of_samples) if how == "mean" else total
