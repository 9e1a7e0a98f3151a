"""Leaky integrate-and-fire whose reset comes with the next step, as snnTorch's `Leaky` by default.

    u[t] = v_rest + beta (u[t-1] - v_rest) + gain x[t] - s[t-1] (threshold - v_rest)   subtraction
    u[t] = v_rest + beta (v[t-1] - v_rest) + gain x[t]                             reset to a value
           v[t-1] = u[t-1] + s[t-1] (v_reset - u[t-1])
    s[t] = H(u[t] - threshold)

The whole drop is subtracted after the decay, where `lif` subtracts it before. At the start
`u = v_rest` and `s = 0`.
Source: Eshraghian, Ward, Neftci, Wang, Lenz, Dwivedi, Bennamoun, Jeong & Lu (2023), Proceedings of
the IEEE 111(9), and its library snnTorch 1.0.0 (`reset_delay=True`).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.functional.lif import lif_values
from spikegrad.step import Step
from spikegrad.surrogate import Surrogate, arctan
from spikegrad.types import DelayedState, Gain, Reset, Value

__all__ = ["DELAYED_LIF", "delayed_lif"]


def step(x: Tensor, s: Any, p: Any) -> Any:
    """One step of LIF with the reset of the step before."""
    before = s.u if p.reset_by == "subtract" else p.reset(s.u, s.s)
    u = p.v_rest + p.beta * (before - p.v_rest) + p.gain * x
    if p.reset_by == "subtract":
        u = p.reset(u, s.s, drop=p.drop)
    fired = p.spike(u, p.threshold)
    return fired, {"u": u, "s": fired}


DELAYED_LIF = Step(
    step,
    name="delayed_lif",
    states={"u": "v_rest", "s": 0.0},
    parameters={
        "beta": 0.9,
        "gain": 1.0,
        "threshold": 1.0,
        "v_rest": 0.0,
        "v_reset": 0.0,
        "drop": 1.0,
    },
    state=DelayedState,
)


def delayed_lif(
    x: Tensor,
    state: DelayedState | None = None,
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
    """Leaky integrate-and-fire neurons that are reset one step after their spike.

    Arguments, results and errors are those of `lif`, but the state: `DelayedState(u, s)`.

    >>> import torch
    >>> s, state = delayed_lif(torch.full((8, 1, 1), 0.6), beta=0.5)
    >>> s.flatten().tolist(), round(state.u.item(), 4)
    ([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0], 0.1328)
    """
    return DELAYED_LIF(
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
