"""Adaptive LIF by symplectic Euler."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.nn import neuron
from spikegrad.step import Parameter, TimeConstant
from spikegrad.surrogate import arctan

__all__ = ["SEAdLIF"]


@neuron(
    states={"v": 0.0, "w": 0.0},
    parameters={
        "tau_mem": TimeConstant(15.0, decay="beta"),
        "tau_adapt": TimeConstant(180.0, decay="rho"),
        "a": Parameter(0.5, low=0.0, high=1.0),
        "b": Parameter(1.0, low=0.0, high=2.0),
        "q": Parameter(120.0, low=0.0),
        "threshold": Parameter(1.0),
        "v_reset": Parameter(0.0),
    },
    reset="zero",
    surrogate=arctan(2.0),
)
def SEAdLIF(x: Tensor, s: Any, p: Any) -> Any:
    """Adaptive LIF integrated by symplectic Euler: an oscillation that stays stable.

        u[t] = beta v[t-1] + (1 - beta) (x[t] - w[t-1])
        s[t] = H(u[t] - threshold),   v[t] = u[t] after the reset
        w[t] = rho w[t-1] + (1 - rho) q (a v[t] + b s[t])

    w reads the membrane of the same step, after the reset; reading that of the step before (Euler)
    would make the frequency depend on the step and the oscillation grow. Dimensionless, x too.
    It fires regularly at x = 45.

    tau_mem, tau_adapt (ms): time constants of membrane and adaptation; a: how the adaptation
    follows the membrane, b: and the spikes, both times the scale q; threshold, v_reset.
    tau_mem, tau_adapt, a and b are the middle of the ranges [5, 25], [60, 300], [0, 1] and [0, 2]
    of the paper's experiments on SHD; a and b are kept in theirs. w keeps its gradient through the
    spike.

    Source: Baronig, Ferrand, Sabathiel & Legenstein (2024), "Advancing spatio-temporal processing
    in spiking neural networks through adaptation", arXiv:2408.07517.
    """
    u = p.beta * s.v + (1.0 - p.beta) * (x - s.w)
    fired = p.spike(u, p.threshold)
    v = p.reset(u, fired)
    w = p.rho * s.w + (1.0 - p.rho) * p.q * (p.a * v + p.b * fired)
    return fired, {"v": v, "w": w}
