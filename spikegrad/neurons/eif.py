"""Exponential integrate-and-fire."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.neurons.values import share
from spikegrad.nn import neuron
from spikegrad.step import Parameter, TimeConstant
from spikegrad.surrogate import arctan

__all__ = ["EIF"]

STEEPEST = 20.0
"""The largest argument of the exponential: exp(20) is 5e8, far from the end of float32."""
LAST = 0.99
"""The part of a step within which the membrane must reach infinity to spike in this step."""


def upstroke(v: Tensor, p: Any) -> Tensor:
    """The membrane (mV) after the exponential alone has acted on it for a step.

    The equation `tau_mem dv/dt = delta_t exp((v - v_t)/delta_t)` has the solution
    `v - delta_t log(1 - q)` with `q = dt/tau_mem exp((v - v_t)/delta_t)`, infinite at q = 1. From
    0.99 on the step is one with a spike: v rises by `threshold - v_rest`, which is enough for one,
    and the membrane is no number far above the threshold.
    """
    q = share(p.beta) * torch.exp(torch.clamp((v - p.v_t) / p.delta_t, max=STEEPEST))
    rise = -p.delta_t * torch.log(torch.clamp(1.0 - q, min=1.0 - LAST))
    return v + torch.where(q < LAST, rise, p.threshold - p.v_rest)


@neuron(
    states={"v": "v_rest"},
    parameters={
        "tau_mem": TimeConstant(10.0, decay="beta"),
        "v_rest": Parameter(-65.0, unit="mV"),
        "v_t": Parameter(-59.9, unit="mV"),
        "delta_t": Parameter(3.48, low=1e-3, unit="mV"),
        "threshold": Parameter(-30.0, unit="mV"),
        "v_reset": Parameter(-68.0, unit="mV"),
    },
    reset="zero",
    surrogate=arctan(0.06),  # 2 / (threshold - v_rest): as wide as LIF's on this scale
)
def EIF(x: Tensor, s: Any, p: Any) -> Any:
    """Exponential integrate-and-fire: a leaky membrane with the upstroke of a spike.

        tau_mem dv/dt = -(v - v_rest) + delta_t exp((v - v_t)/delta_t) + x

    and where v reaches threshold a spike, and v = v_reset. x: input current over the leak
    conductance (mV; 10 mV are 1 uA/cm2 in the paper). It fires for a constant x above
    `v_t - v_rest - delta_t` = 1.62. It fires regularly at x = 10.

    tau_mem (ms): the membrane's time constant; v_rest (mV): rest; v_t (mV): where the upstroke
    begins; delta_t (mV): how sharp it is, LIF with the threshold v_t as it goes to 0; threshold
    (mV): the peak at which the spike is counted; v_reset (mV). The values are those that the paper
    fits to the Wang-Buzsaki neuron, which has a refractory period of 1.7 ms; here 0 by default.

    Integration: the exact leak for a step, then the exact upstroke for a step, which a spike ends.
    At dt = 1 ms the periods at x = 5, 10 and 20 are within a step of the exact ones (30.4, 15.6 and
    8.4 ms), where Euler's steps are up to 3.6 ms late.

    Source: Fourcaud-Trocme, Hansel, van Vreeswijk & Brunel (2003), Journal of Neuroscience 23(37),
    11628-11640.
    """
    u = upstroke(p.v_rest + p.beta * (s.v - p.v_rest) + (1.0 - p.beta) * x, p)
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired)}
