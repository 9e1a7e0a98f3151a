"""Leaky integrate-and-fire, and the same without a leak.

    u[t] = v_rest + beta (v[t-1] - v_rest) + gain x[t]
    s[t] = H(u[t] - threshold)
    v[t] = u[t] - s[t] (threshold - v_rest)          reset by subtraction
    v[t] = u[t] + s[t] (v_reset - u[t])              reset to a value

Source: Neftci, Mostafa & Zenke (2019), IEEE Signal Processing Magazine 36(6), eqs. 1-6, with the
membrane's exact decay per step.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.functional import scan
from spikegrad.surrogate import Surrogate, arctan
from spikegrad.types import Gain, LIFState, Reset, Value

__all__ = ["integrate_and_fire", "lif"]


def lif(
    x: Tensor,
    state: LIFState | None = None,
    *,
    beta: Value,
    threshold: Value = 1.0,
    surrogate: Surrogate = arctan(2.0),  # noqa: B008  (an immutable record)
    slope: Tensor | None = None,
    gain: Gain = "unit",
    v_rest: Value = 0.0,
    v_reset: Value = 0.0,
    reset: Reset = "subtract",
    detach_reset: bool = True,
    refractory: int = 0,
    drop: Value | None = None,
    trace: bool = False,
) -> Any:
    """Leaky integrate-and-fire neurons over a whole sequence.

    x: input current `[T, B, *features]`; state: from the call before, None for rest.
    beta: membrane decay per step; threshold, v_rest, v_reset, beta: scalars, or tensors that
    broadcast to `[*features]`; slope: a tensor to learn the surrogate's slope through, or None;
    refractory: steps of silence after a spike; drop: what a reset by subtraction subtracts, by
    default `threshold - v_rest` (`threshold/beta` is a reset of `threshold` one step later).

    Returns `(s, state)`, spikes `[T, B, *features]` in x's dtype; with `trace=True`
    `(s, state, Trace)`.
    Raises UserError or TypeError for a wrong shape, range, kind or dtype.

    >>> import torch
    >>> s, state = lif(torch.full((4, 1, 1), 0.6), beta=0.5)
    >>> s.flatten().tolist(), round(state.v.item(), 4)
    ([0.0, 0.0, 1.0, 0.0], 0.625)
    """
    rule = scan.Rule(
        surrogate, slope, threshold, v_rest, v_reset, reset, detach_reset, refractory, drop
    )
    numbers = {"beta": beta, "threshold": threshold, "v_rest": v_rest, "v_reset": v_reset}
    given = {} if drop is None else {"drop": drop}
    current = scan.enter(x, state, LIFState, **numbers, **given)
    v, silent = state if state is not None else (scan.rest(current, v_rest), None)
    g = scan.input_gain(gain, beta)
    record = scan.Record(trace=trace)
    for x_t in current.unbind(0):
        u = v_rest + beta * (v - v_rest) + g * x_t
        distance = u - threshold
        s, v, silent = rule.step(u, distance, silent)
        record.add(s, u, distance)
    return record.result(x, LIFState(v, silent))


def integrate_and_fire(x: Tensor, state: LIFState | None = None, **parameters: Any) -> Any:
    """Integrate-and-fire neurons: `lif` without a leak, `u[t] = v[t-1] + x[t]`.

    Arguments, results and errors are those of `lif`, less beta, gain and v_rest.

    >>> import torch
    >>> s, state = integrate_and_fire(torch.full((4, 1, 1), 0.5))
    >>> s.flatten().tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    return lif(x, state, beta=1.0, **parameters)
