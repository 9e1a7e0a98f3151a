"""Izhikevich's simple model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.nn import neuron
from spikegrad.step import Parameter
from spikegrad.surrogate import arctan

__all__ = ["Izhikevich"]

LOWEST, HIGHEST = -120.0, 1000.0
"""Bounds of the membrane after a half step (mV): below the first Euler's step of the square turns
around and inhibition would cause spikes; the second is far beyond what a spike reaches."""


@neuron(
    states={"v": "c", "u": -13.0},
    parameters={
        "a": Parameter(0.02, low=0.0, unit="1/ms"),
        "b": Parameter(0.2, unit="1/ms"),
        "c": Parameter(-65.0, unit="mV"),
        "d": Parameter(8.0, unit="mV/ms"),
        "threshold": Parameter(30.0, unit="mV"),
    },
    reset="zero",
    rest="c",
    surrogate=arctan(0.02),  # 2 / (threshold - c): as wide as LIF's on this scale
)
def Izhikevich(x: Tensor, s: Any, p: Any) -> Any:
    """Izhikevich's simple model: two variables and four numbers for most firing patterns.

        dv/dt = 0.04 v^2 + 5 v + 140 - u + x
        du/dt = a (b v - u)

    and where v reaches threshold (30 mV) a spike, v = c and u = u + d. v (mV), time in ms, x: input
    current in the paper's unit (mV/ms). It fires regularly at x = 10.

    a (1/ms): rate of the recovery u; b (1/ms): its coupling; c (mV): reset of v; d (mV/ms): jump of
    u. The defaults are the paper's regular spiking cell. Others of its figure 2: fast spiking
    a = 0.1, d = 2; chattering c = -50, d = 2; intrinsically bursting c = -55, d = 4; low-threshold
    spiking b = 0.25, d = 2; resonator a = 0.1, b = 0.26, d = 2. u starts at -13, which is b c for
    the regular spiking cell.

    Integration: the paper's program: two Euler steps of dt/2 for v, then one of dt for u, with the
    membrane that has not been reset; dt = 1 ms is its step. After each half step v is kept in
    [-120, 1000] mV, which no cell of the paper leaves. The jump of u keeps its gradient.

    Source: Izhikevich (2003), IEEE Transactions on Neural Networks 14(6), 1569-1572, eqs. 1-3.
    """
    half = 0.5 * p.dt
    v = s.v + half * (0.04 * s.v * s.v + 5.0 * s.v + 140.0 - s.u + x)
    v = torch.clamp(v, min=LOWEST, max=HIGHEST)
    v = v + half * (0.04 * v * v + 5.0 * v + 140.0 - s.u + x)
    v = torch.clamp(v, min=LOWEST)
    fired = p.spike(v, p.threshold)
    u = s.u + p.dt * p.a * (p.b * v - s.u) + p.d * fired
    return fired, {"v": p.reset(v, fired, to=p.c, drop=p.threshold - p.c), "u": u}
