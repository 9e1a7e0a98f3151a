"""Adaptive-threshold LIF: a neuron that tires.

    u[t] = v_rest + beta (v[t-1] - v_rest) + gain x[t]
    theta[t] = threshold + kappa a[t]
    s[t] = H(u[t] - theta[t])
    a[t+1] = rho a[t] + s[t]

Reset by subtraction subtracts `threshold - v_rest`, not theta. The adaptation keeps its gradient
through the spike in every mode.
Source: Bellec, Salaj, Subramoney, Legenstein & Maass (2018), NeurIPS 31, eqs. 1-3.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.functional import scan
from spikegrad.surrogate import Surrogate, arctan
from spikegrad.types import ALIFState, Gain, Reset, Value

__all__ = ["alif"]


def alif(
    x: Tensor,
    state: ALIFState | None = None,
    *,
    beta: Value,
    rho: Value,
    kappa: Value = 0.2,
    threshold: Value = 1.0,
    surrogate: Surrogate = arctan(2.0),  # noqa: B008  (an immutable record)
    slope: Tensor | None = None,
    gain: Gain = "unit",
    v_rest: Value = 0.0,
    v_reset: Value = 0.0,
    reset: Reset = "subtract",
    detach_reset: bool = True,
    refractory: int = 0,
    trace: bool = False,
) -> Any:
    """Adaptive-threshold leaky integrate-and-fire neurons over a whole sequence.

    x: input current `[T, B, *features]`; rho: decay per step of the adaptation; kappa: what one
    spike adds to the threshold; the rest as in `lif`.

    Returns `(s, state)`, with `trace=True` `(s, state, Trace)`. Raises as `lif`.

    >>> import torch
    >>> s, state = alif(torch.ones(4, 1, 1), beta=0.5, rho=0.5, kappa=1.0)
    >>> s.flatten().tolist(), state.a.item()
    ([1.0, 0.0, 1.0, 0.0], 0.625)
    """
    rule = scan.Rule(surrogate, slope, threshold, v_rest, v_reset, reset, detach_reset, refractory)
    current = scan.enter(
        x,
        state,
        ALIFState,
        beta=beta,
        rho=rho,
        kappa=kappa,
        threshold=threshold,
        v_rest=v_rest,
        v_reset=v_reset,
    )
    v, a, silent = (
        state if state is not None else (scan.rest(current, v_rest), scan.rest(current), None)
    )
    g = scan.input_gain(gain, beta)
    record = scan.Record(trace=trace)
    for x_t in current.unbind(0):
        u = v_rest + beta * (v - v_rest) + g * x_t
        distance = u - (threshold + kappa * a)
        s, v, silent = rule.step(u, distance, silent)
        a = rho * a + s
        record.add(s, u, distance)
    return record.result(x, ALIFState(v, a, silent))
