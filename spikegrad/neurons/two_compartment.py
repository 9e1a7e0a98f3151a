"""A neuron with a dendrite and a soma."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.nn import neuron
from spikegrad.step import Parameter
from spikegrad.surrogate import arctan

__all__ = ["TwoCompartment"]


@neuron(
    states={"dendrite": 0.0, "v": 0.0},
    parameters={
        "to_dendrite": Parameter(0.5, low=0.0, high=1.0),
        "to_soma": Parameter(0.5, low=0.0, high=1.0),
        "gamma": Parameter(0.7),
        "threshold": Parameter(1.0),
        "v_reset": Parameter(0.0),
    },
    reset="subtract",
    surrogate=arctan(2.0),
)
def TwoCompartment(x: Tensor, s: Any, p: Any) -> Any:
    """TC-LIF: a dendrite that keeps the input for long, and a soma that spikes.

        d[t] = d[t-1] - to_dendrite v[t-1] + x[t]         dendrite, less gamma where s[t] = 1
        u[t] = v[t-1] + to_soma d[t]                      soma
        s[t] = H(u[t] - threshold),   v[t] = u[t] after the reset

    The two exchange current; without spikes they oscillate and lose nothing. After a spike the soma
    loses threshold and the dendrite gamma (reset="subtract"; with "zero" only the soma is reset, to
    v_reset). Dimensionless, x too. It fires regularly at x = 0.5.

    to_dendrite, to_soma: the paper's -beta_1 and beta_2, per step, in (0, 1) when learned; gamma:
    what the dendrite loses at a spike; threshold; v_reset. The paper has no unit of time, so
    nothing here depends on dt. It subtracts in the next step; the same numbers, with v after the
    reset in the first equation, as in the authors' program.

    Source: Zhang et al. (2024), "TC-LIF: a two-compartment spiking neuron model for long-term
    sequential modelling", AAAI 38, arXiv:2308.13250.
    """
    dendrite = s.dendrite - p.to_dendrite * s.v + x
    u = s.v + p.to_soma * dendrite
    fired = p.spike(u, p.threshold)
    # With "zero" the paper's dendrite is left as it is: to=dendrite.
    return fired, {
        "dendrite": p.reset(dendrite, fired, drop=p.gamma, to=dendrite),
        "v": p.reset(u, fired),
    }
