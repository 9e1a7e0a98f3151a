"""Current-based LIF: a synaptic current, then a membrane.

    i[t] = alpha i[t-1] + g_syn x[t]
    u[t] = v_rest + beta (v[t-1] - v_rest) + g_mem i[t]

then spike and reset as in `lif`. The article's `SNNLayer` is gain leak/leak with an Euler membrane.
Source: Neftci, Mostafa & Zenke (2019), eqs. 1-3; Zenke & Ganguli (2018), Neural Computation 30(6).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.checks import check_numbers
from spikegrad.functional.decay import input_gain
from spikegrad.step import Step
from spikegrad.surrogate import Surrogate, arctan
from spikegrad.types import CUBAState, Gain, Reset, Value

__all__ = ["CUBA", "cuba_lif", "cuba_values"]


def step(x: Tensor, s: Any, p: Any) -> Any:
    """One step of CUBA-LIF."""
    i = p.alpha * s.i + p.gain_syn * x
    u = p.v_rest + p.beta * (s.v - p.v_rest) + p.gain_mem * i
    fired = p.spike(u, p.threshold)
    return fired, {"i": i, "v": p.reset(u, fired, drop=p.drop)}


CUBA = Step(
    step,
    name="cuba_lif",
    states={"i": 0.0, "v": "v_rest"},
    parameters={
        "alpha": 0.8,
        "beta": 0.9,
        "gain_syn": 1.0,
        "gain_mem": 1.0,
        "threshold": 1.0,
        "v_rest": 0.0,
        "v_reset": 0.0,
        "drop": 1.0,
    },
    state=CUBAState,
)


def cuba_lif(
    x: Tensor,
    state: CUBAState | None = None,
    *,
    alpha: Value,
    beta: Value,
    threshold: Value = 1.0,
    surrogate: Surrogate = arctan(2.0),  # noqa: B008  (an immutable record)
    slope: Tensor | None = None,
    gain_syn: Gain = "unit",
    gain_mem: Gain = "unit",
    v_rest: Value = 0.0,
    v_reset: Value = 0.0,
    reset: Reset = "subtract",
    detach_reset: bool = True,
    refractory: int = 0,
    trace: bool = False,
) -> Any:
    """Current-based leaky integrate-and-fire neurons over a whole sequence.

    x: input `[T, B, *features]`; alpha, beta: decays per step of synapse and membrane;
    gain_syn, gain_mem: "unit" (1) or "leak" (1 - decay); the rest as in `lif`.

    Returns `(s, state)`, with `trace=True` `(s, state, Trace)`. Raises as `lif`.

    >>> import torch
    >>> s, state = cuba_lif(torch.ones(3, 1, 1), alpha=0.5, beta=0.5, gain_syn="leak")
    >>> s.flatten().tolist(), state.i.item()
    ([0.0, 1.0, 0.0], 0.875)
    """
    return CUBA(
        x,
        state,
        trace=trace,
        **cuba_values(
            alpha=alpha,
            beta=beta,
            threshold=threshold,
            gain_syn=gain_syn,
            gain_mem=gain_mem,
            v_rest=v_rest,
            v_reset=v_reset,
            surrogate=surrogate,
            slope=slope,
            reset=reset,
            detach_reset=detach_reset,
            refractory=refractory,
        ),
    )


def cuba_values(
    *,
    alpha: Value,
    beta: Value,
    threshold: Value = 1.0,
    gain_syn: Gain = "unit",
    gain_mem: Gain = "unit",
    v_rest: Value = 0.0,
    v_reset: Value = 0.0,
    **how: Any,
) -> dict[str, Any]:
    """What the step is called with, from the arguments of `cuba_lif`."""
    check_numbers(alpha=alpha, beta=beta, threshold=threshold, v_rest=v_rest, v_reset=v_reset)
    return {
        "alpha": alpha,
        "beta": beta,
        "gain_syn": input_gain(gain_syn, alpha),
        "gain_mem": input_gain(gain_mem, beta),
        "threshold": threshold,
        "v_rest": v_rest,
        "v_reset": v_reset,
        "drop": threshold - v_rest,
        **how,
    }
