"""Generalised leaky integrate-and-fire with after-spike currents."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.nn import neuron
from spikegrad.step import Parameter, TimeConstant
from spikegrad.surrogate import arctan

__all__ = ["GLIF"]


@neuron(
    states={"v": "v_rest", "i_slow": 0.0, "i_fast": 0.0},
    parameters={
        "tau_mem": TimeConstant(58.72 / 9.43, decay="beta"),
        "g_leak": Parameter(9.43, low=1e-3, unit="nS"),
        "v_rest": Parameter(-78.85, unit="mV"),
        "threshold": Parameter(-51.68, unit="mV"),
        "v_reset": Parameter(-78.85, unit="mV"),
        "tau_slow": TimeConstant(1 / 0.003, decay="decay_slow"),
        "tau_fast": TimeConstant(10.0, decay="decay_fast"),
        "jump_slow": Parameter(-9.18, unit="pA"),
        "jump_fast": Parameter(-198.94, unit="pA"),
    },
    reset="zero",
    surrogate=arctan(0.07),  # 2 / (threshold - v_rest): as wide as LIF's on this scale
)
def GLIF(x: Tensor, s: Any, p: Any) -> Any:
    """GLIF3 of the Allen Institute: leaky integrate-and-fire with two after-spike currents.

        C dv/dt = -g_leak (v - v_rest) + i_slow + i_fast + x
        di/dt = -i / tau                                        for each of the two currents

    with `C = g_leak tau_mem`, and where v reaches threshold a spike, v = v_reset and
    `i = i + jump`. x: input current (pA). It fires regularly at x = 500.

    tau_mem (ms), g_leak (nS): 58.72 pF over 9.43 nS; v_rest, threshold, v_reset (mV); tau_slow,
    tau_fast (ms) and jump_slow, jump_fast (pA): time constants and jumps of the currents after a
    spike; a negative jump makes the neuron adapt. The values are a cell of the Allen Cell Types
    Database, the defaults of NEST's `glif_psc`, which has a refractory period of 3.75 ms; here 0
    by default.

    Integration: exponential Euler, exact for a current that is constant over a step; i_slow and
    i_fast are taken from the step's start. Their jumps keep their gradient through the spike.

    Source: Teeter et al. (2018), Nature Communications 9, 709, "GLIF3" (LIF-ASC).
    """
    drive = (x + s.i_slow + s.i_fast) / p.g_leak
    u = p.v_rest + p.beta * (s.v - p.v_rest) + (1.0 - p.beta) * drive
    fired = p.spike(u, p.threshold)
    return fired, {
        "v": p.reset(u, fired),
        "i_slow": p.decay_slow * s.i_slow + p.jump_slow * fired,
        "i_fast": p.decay_fast * s.i_fast + p.jump_fast * fired,
    }
