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

from spikegrad.checks import check_numbers
from spikegrad.errors import UserError, message
from spikegrad.functional.decay import input_gain
from spikegrad.step import Step
from spikegrad.surrogate import Surrogate, arctan
from spikegrad.types import Gain, LIFState, Reset, Value

__all__ = ["LIF", "integrate_and_fire", "lif", "lif_values"]


def step(x: Tensor, s: Any, p: Any) -> Any:
    """One step of LIF."""
    u = p.v_rest + p.beta * (s.v - p.v_rest) + p.gain * x
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired, drop=p.drop)}


LIF = Step(
    step,
    name="lif",
    states={"v": "v_rest"},
    parameters={
        "beta": 0.9,
        "gain": 1.0,
        "threshold": 1.0,
        "v_rest": 0.0,
        "v_reset": 0.0,
        "drop": 1.0,
    },
    state=LIFState,
)


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
    return LIF(
        x,
        state,
        trace=trace,
        **lif_values(
            beta=beta,
            threshold=threshold,
            gain=gain,
            v_rest=v_rest,
            v_reset=v_reset,
            drop=drop,
            surrogate=surrogate,
            slope=slope,
            reset=reset,
            detach_reset=detach_reset,
            refractory=refractory,
        ),
    )


def lif_values(
    *,
    beta: Value,
    threshold: Value = 1.0,
    gain: Gain = "unit",
    v_rest: Value = 0.0,
    v_reset: Value = 0.0,
    drop: Value | None = None,
    **how: Any,
) -> dict[str, Any]:
    """What the step is called with, from the arguments of `lif`."""
    if drop is not None and how.get("reset", "subtract") != "subtract":
        raise UserError(
            message(
                "expected reset='subtract' with drop, the amount to subtract",
                f"reset={how['reset']!r}",
                "omit drop",
            )
        )
    check_numbers(beta=beta, threshold=threshold, v_rest=v_rest, v_reset=v_reset)
    return {
        "beta": beta,
        "gain": input_gain(gain, beta),
        "threshold": threshold,
        "v_rest": v_rest,
        "v_reset": v_reset,
        "drop": threshold - v_rest if drop is None else drop,
        **how,
    }


def integrate_and_fire(x: Tensor, state: LIFState | None = None, **parameters: Any) -> Any:
    """Integrate-and-fire neurons: `lif` without a leak, `u[t] = v[t-1] + x[t]`.

    Arguments, results and errors are those of `lif`, less beta, gain and v_rest.

    >>> import torch
    >>> s, state = integrate_and_fire(torch.full((4, 1, 1), 0.5))
    >>> s.flatten().tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    return lif(x, state, beta=1.0, **parameters)
