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

from spikegrad.checks import check_numbers
from spikegrad.functional.decay import input_gain
from spikegrad.step import Step
from spikegrad.surrogate import Surrogate, arctan
from spikegrad.types import ALIFState, Gain, Reset, Value

__all__ = ["ALIF", "alif", "alif_values"]


def step(x: Tensor, s: Any, p: Any) -> Any:
    """One step of ALIF."""
    u = p.v_rest + p.beta * (s.v - p.v_rest) + p.gain * x
    fired = p.spike(u, p.threshold + p.kappa * s.a)
    return fired, {"v": p.reset(u, fired, drop=p.drop), "a": p.rho * s.a + fired}


ALIF = Step(
    step,
    name="alif",
    states={"v": "v_rest", "a": 0.0},
    parameters={
        "beta": 0.9,
        "rho": 0.99,
        "kappa": 0.2,
        "gain": 1.0,
        "threshold": 1.0,
        "v_rest": 0.0,
        "v_reset": 0.0,
        "drop": 1.0,
    },
    state=ALIFState,
)


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
    return ALIF(
        x,
        state,
        trace=trace,
        **alif_values(
            beta=beta,
            rho=rho,
            kappa=kappa,
            threshold=threshold,
            gain=gain,
            v_rest=v_rest,
            v_reset=v_reset,
            surrogate=surrogate,
            slope=slope,
            reset=reset,
            detach_reset=detach_reset,
            refractory=refractory,
        ),
    )


def alif_values(
    *,
    beta: Value,
    rho: Value,
    kappa: Value = 0.2,
    threshold: Value = 1.0,
    gain: Gain = "unit",
    v_rest: Value = 0.0,
    v_reset: Value = 0.0,
    **how: Any,
) -> dict[str, Any]:
    """What the step is called with, from the arguments of `alif`."""
    check_numbers(
        beta=beta, rho=rho, kappa=kappa, threshold=threshold, v_rest=v_rest, v_reset=v_reset
    )
    return {
        "beta": beta,
        "rho": rho,
        "kappa": kappa,
        "gain": input_gain(gain, beta),
        "threshold": threshold,
        "v_rest": v_rest,
        "v_reset": v_reset,
        "drop": threshold - v_rest,
        **how,
    }
