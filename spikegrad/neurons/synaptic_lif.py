"""LIF neuron with an excitatory and an inhibitory synapse."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.nn import neuron
from spikegrad.step import Parameter, TimeConstant
from spikegrad.surrogate import arctan

__all__ = ["SynapticLIF"]


@neuron(
    inputs=("ampa", "gaba"),
    states={"i_ampa": 0.0, "i_gaba": 0.0, "v": "v_rest"},
    parameters={
        "tau_mem": TimeConstant(20.0, decay="beta"),
        "tau_ampa": TimeConstant(5.0, decay="alpha_ampa"),
        "tau_gaba": TimeConstant(10.0, decay="alpha_gaba"),
        "threshold": Parameter(1.0),
        "v_rest": Parameter(0.0),
        "v_reset": Parameter(0.0),
    },
    reset="subtract",
    surrogate=arctan(2.0),
)
def SynapticLIF(x: Any, s: Any, p: Any) -> Any:
    """LIF with AMPA and GABA synapses: excitation and inhibition enter side by side.

        i_ampa[t] = alpha_ampa i_ampa[t-1] + ampa[t]
        i_gaba[t] = alpha_gaba i_gaba[t-1] + gaba[t]
        u[t] = v_rest + beta (v[t-1] - v_rest) + i_ampa[t] - i_gaba[t]
        s[t] = H(u[t] - threshold),   v[t] = u[t] after the reset

    with alpha_ampa = exp(-dt/tau_ampa), alpha_gaba = exp(-dt/tau_gaba), beta = exp(-dt/tau_mem). x:
    weighted spikes `[T, B, 2, *features]`, the AMPA synapse first; both are meant to be 0 or more.
    Synapses are current-based: what a spike adds to the membrane does not depend on it. Membranes
    and currents are dimensionless, in units of the distance from rest to the threshold.
    It fires regularly at x = 0.05. That is the AMPA synapse's current, with none of the other.

    tau_mem, tau_ampa, tau_gaba: time constants (ms), 20, 5 and 10; threshold; v_rest, v_reset: rest
    and value after a spike for reset="zero".

    Source: Gerstner, Kistler, Naud & Paninski (2014), Neuronal Dynamics, chapter 3 (synapses with
    exponential currents, section 3.1) and chapter 1 (leaky integrate-and-fire).
    """
    i_ampa = p.alpha_ampa * s.i_ampa + x.ampa
    i_gaba = p.alpha_gaba * s.i_gaba + x.gaba
    u: Tensor = p.v_rest + p.beta * (s.v - p.v_rest) + i_ampa - i_gaba
    fired = p.spike(u, p.threshold)
    return fired, {"i_ampa": i_ampa, "i_gaba": i_gaba, "v": p.reset(u, fired)}
