"""Current-based LIF: a synaptic current, then a membrane.

    i[t] = alpha i[t-1] + g_syn x[t]
    u[t] = v_rest + beta (v[t-1] - v_rest) + g_mem i[t]

then spike and reset as in `lif`. The article's `SNNLayer` is gain leak/leak with an Euler membrane.
Source: Neftci, Mostafa & Zenke (2019), eqs. 1-3; Zenke & Ganguli (2018), Neural Computation 30(6).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.functional import scan
from spikegrad.surrogate import Surrogate, arctan
from spikegrad.types import CUBAState, Gain, Reset, Value

__all__ = ["cuba_lif"]


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
    rule = scan.Rule(surrogate, slope, threshold, v_rest, v_reset, reset, detach_reset, refractory)
    current = scan.enter(
        x,
        state,
        CUBAState,
        alpha=alpha,
        beta=beta,
        threshold=threshold,
        v_rest=v_rest,
        v_reset=v_reset,
    )
    i, v, silent = (
        state if state is not None else (scan.rest(current), scan.rest(current, v_rest), None)
    )
    g_syn, g_mem = scan.input_gain(gain_syn, alpha), scan.input_gain(gain_mem, beta)
    record = scan.Record(trace=trace)
    for x_t in current.unbind(0):
        i = alpha * i + g_syn * x_t
        u = v_rest + beta * (v - v_rest) + g_mem * i
        distance = u - threshold
        s, v, silent = rule.step(u, distance, silent)
        record.add(s, u, distance)
    return record.result(x, CUBAState(i, v, silent))
