"""Adaptive exponential integrate-and-fire."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.neurons.eif import upstroke
from spikegrad.nn import neuron
from spikegrad.step import Parameter, TimeConstant
from spikegrad.surrogate import arctan

__all__ = ["AdEx"]


@neuron(
    states={"v": "v_rest", "w": 0.0},
    parameters={
        "tau_mem": TimeConstant(281.0 / 30.0, decay="beta"),
        "tau_adapt": TimeConstant(144.0, decay="rho"),
        "g_leak": Parameter(30.0, low=1e-3, unit="nS"),
        "v_rest": Parameter(-70.6, unit="mV"),
        "v_t": Parameter(-50.4, unit="mV"),
        "delta_t": Parameter(2.0, low=1e-3, unit="mV"),
        "threshold": Parameter(20.0, unit="mV"),
        "v_reset": Parameter(-70.6, unit="mV"),
        "a": Parameter(4.0, unit="nS"),
        "b": Parameter(80.5, unit="pA"),
    },
    reset="zero",
    surrogate=arctan(0.02),  # 2 / (threshold - v_rest): as wide as LIF's on this scale
)
def AdEx(x: Tensor, s: Any, p: Any) -> Any:
    """Adaptive exponential integrate-and-fire: EIF with a current that adapts.

        C dv/dt = -g_leak (v - v_rest) + g_leak delta_t exp((v - v_t)/delta_t) - w + x
        tau_adapt dw/dt = a (v - v_rest) - w

    with `C = g_leak tau_mem`, and where v reaches threshold a spike, v = v_reset and w = w + b.
    x: input current (pA). It fires regularly at x = 1000.

    tau_mem (ms), g_leak (nS): 281 pF over 30 nS; v_rest (mV): rest; v_t (mV): where the upstroke
    begins; delta_t (mV): how sharp it is; threshold (mV): the peak at which the spike is counted;
    v_reset (mV); tau_adapt (ms), a (nS), b (pA): time constant, coupling and jump of the
    adaptation. The values are the paper's, of a regular spiking pyramidal cell.

    Integration: v as in EIF, the exact leak and then the exact upstroke for a step; w by
    exponential Euler. The jump of w keeps its gradient through the spike. At dt = 1 ms the first
    four spikes at x = 1000 are at most 1.3 ms late, where Euler's steps are 3 to 13 ms late.

    Source: Brette & Gerstner (2005), Journal of Neurophysiology 94(5), 3637-3642.
    """
    drive = (1.0 - p.beta) * (x - s.w) / p.g_leak
    u = upstroke(p.v_rest + p.beta * (s.v - p.v_rest) + drive, p)
    fired = p.spike(u, p.threshold)
    w = p.rho * s.w + (1.0 - p.rho) * p.a * (s.v - p.v_rest) + p.b * fired
    return fired, {"v": p.reset(u, fired), "w": w}
