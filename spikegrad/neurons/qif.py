"""Quadratic integrate-and-fire."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.neurons.values import share
from spikegrad.nn import neuron
from spikegrad.step import Parameter, TimeConstant
from spikegrad.surrogate import arctan

__all__ = ["QIF"]

FURTHEST = 0.9
"""The largest `h z` that a step starts from: at 1 the membrane is infinite after the step."""


@neuron(
    states={"v": "v_rest"},
    parameters={
        "tau_mem": TimeConstant(10.0, decay="beta"),
        "v_rest": Parameter(-65.0, unit="mV"),
        "v_crit": Parameter(-50.0, unit="mV"),
        "threshold": Parameter(30.0, unit="mV"),
        "v_reset": Parameter(-80.0, unit="mV"),
    },
    reset="zero",
    surrogate=arctan(0.02),  # 2 / (threshold - v_rest): as wide as LIF's on this scale
)
def QIF(x: Tensor, s: Any, p: Any) -> Any:
    """Quadratic integrate-and-fire: the normal form of a neuron that starts to fire from rate 0.

        tau_mem dv/dt = (v - v_rest) (v - v_crit) / (v_crit - v_rest) + x

    and where v reaches threshold a spike, and v = v_reset. Without input the membrane stays at
    v_rest (mV); above v_crit (mV) it rises by itself until it spikes. x: input current times the
    membrane's resistance (mV); it fires for a constant x above `(v_crit - v_rest)/4` = 3.75, with
    the period `tau_mem [atan(z/c)]` from z(v_reset) to z(threshold) over c, where
    `z = (v - (v_rest + v_crit)/2) / (v_crit - v_rest)` and `c^2 = x/(v_crit - v_rest) - 1/4`.
    It fires regularly at x = 10.

    tau_mem (ms) is the membrane's time constant; threshold (mV) is the peak at which the spike is
    counted, v_crit what is often called the threshold.

    Integration: in z a step is `z[t] = (z + h (c^2)) / (1 - h z)`, h = dt/tau_mem, the product of
    old and new membrane for the square (Kahan's method): of second order, and stable for any
    current, where Euler's step throws a membrane far below rest over the threshold. `h z` is kept
    below 0.9, so that what follows is finite with any reset. At dt = 1 ms the period at x = 10 is
    within a step of the exact one.

    Source: Ermentrout & Kopell (1986), SIAM Journal on Applied Mathematics 46(2), 233-253; in this
    form Latham, Richmond, Nelson & Nirenberg (2000), Journal of Neurophysiology 83(2), 808-827.
    """
    width = p.v_crit - p.v_rest
    middle = (p.v_rest + p.v_crit) / 2
    h = share(p.beta)
    hz = torch.clamp(h * (s.v - middle) / width, max=FURTHEST)
    z = (hz / h + h * (x / width - 0.25)) / (1.0 - hz)
    u = middle + width * z
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired)}
