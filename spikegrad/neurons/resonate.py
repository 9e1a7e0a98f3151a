"""Resonate-and-fire, and its balanced variant."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.neurons.values import sustained, turn
from spikegrad.nn import neuron
from spikegrad.step import Parameter, TimeConstant
from spikegrad.surrogate import arctan

__all__ = ["BalancedResonateAndFire", "ResonateAndFire"]


@neuron(
    states={"i": 0.0, "v": 0.0},
    parameters={
        "tau_mem": TimeConstant(100.0, decay="beta"),
        "omega": Parameter(0.1, low=0.0, unit="rad/ms"),
        "threshold": Parameter(1.0),
        "v_reset": Parameter(1.0),
    },
    reset="zero",
    surrogate=arctan(2.0),
)
def ResonateAndFire(x: Tensor, s: Any, p: Any) -> Any:
    """Resonate-and-fire: a damped oscillation that spikes; it prefers inputs at its own period.

        dz/dt = (-1/tau_mem + i omega) z + x,      z = i + i v

    Where v, the imaginary part, reaches threshold a spike, and z = 0 + i v_reset. In real numbers

        i[t] = beta (cos(omega dt) i[t-1] - sin(omega dt) v[t-1]) + x[t]
        v[t] = beta (sin(omega dt) i[t-1] + cos(omega dt) v[t-1])

    so the rotation is exact at any dt, and x is a pulse of current at each step (gain 1, as LIF).
    Dimensionless, as LIF. It fires regularly at x = 0.15.

    tau_mem (ms): decay of the oscillation; omega (rad/ms): its angular frequency, 0.1 is 16 Hz;
    threshold; v_reset: of v; i is reset to 0 (reset="zero"), or only v loses threshold
    ("subtract"). With 100 ms as the unit of time the defaults are the paper's b = -1, omega = 10.

    Source: Izhikevich (2001), Neural Networks 14(6-7), 883-894.
    """
    cos, sin = turn(p.omega * p.dt)
    i = p.beta * (cos * s.i - sin * s.v) + x
    v = p.beta * (sin * s.i + cos * s.v)
    fired = p.spike(v, p.threshold)
    return fired, {"i": p.reset(i, fired, to=0.0, drop=0.0), "v": p.reset(v, fired)}


@neuron(
    states={"v": 0.0, "i": 0.0, "q": 0.0},
    parameters={
        "omega": Parameter(0.1, low=0.0, unit="rad/ms"),
        "damping": Parameter(0.01, low=0.0, unit="1/ms"),
        "tau_unit": Parameter(100.0, low=1e-3, unit="ms"),
        "gamma": Parameter(0.9, low=0.0, high=1.0),
        "threshold": Parameter(1.0),
    },
    reset="none",
    surrogate=arctan(2.0),
)
def BalancedResonateAndFire(x: Tensor, s: Any, p: Any) -> Any:
    """Balanced resonate-and-fire (BRF): stable at any frequency, with a soft refractory period.

        r[t] = p(omega) - damping - q[t-1]/tau_unit,   p(omega) = (sqrt(1 - (omega dt)^2) - 1)/dt
        v[t] = v[t-1] + dt (r v[t-1] - omega i[t-1] + x[t]/tau_unit)
        i[t] = i[t-1] + dt (omega v[t-1] + r i[t-1])
        s[t] = H(v[t] - threshold - q[t-1])
        q[t] = gamma q[t-1] + s[t]

    p(omega) is the damping at which Euler's rotation neither grows nor shrinks, so that damping
    above 0 makes every frequency stable. A spike raises threshold and damping through q; the
    membrane is not reset (reset="none"). Dimensionless, x too. It fires regularly at x = 70.

    omega (rad/ms): angular frequency; damping (1/ms): the paper's b'; tau_unit (ms): the paper's
    unit of time, in which its omega = 10, b' = 1 and step 0.01 are the defaults here; gamma: decay
    of q per step; threshold. The spike keeps its gradient in q.

    Integration: the paper's Euler step; omega dt is to be below 1, beyond it p stays at -1/dt.

    Source: Higuchi, Kairat, Bohte & Otte (2024), ICML, arXiv:2402.14603.
    """
    rate = sustained(p.omega * p.dt) - p.dt * (p.damping + s.q / p.tau_unit)
    angle = p.omega * p.dt
    v = s.v + rate * s.v - angle * s.i + p.dt / p.tau_unit * x
    i = s.i + angle * s.v + rate * s.i
    fired = p.spike(v, p.threshold + s.q)
    return fired, {
        "v": p.reset(v, fired, to=0.0, drop=p.threshold),
        "i": i,
        "q": p.gamma * s.q + fired,
    }
