"""SpikingJelly 2.0.0 (`spikingjelly.activation_based.surrogate`) in our records."""

from __future__ import annotations

import math
from typing import Any

from spikegrad.surrogate.convert.peer import Peer
from spikegrad.surrogate.record import Surrogate
from spikegrad.surrogate.shapes.arctan import arctan
from spikegrad.surrogate.shapes.boxcar import boxcar
from spikegrad.surrogate.shapes.exponential import exponential
from spikegrad.surrogate.shapes.fast_sigmoid import fast_sigmoid
from spikegrad.surrogate.shapes.gaussian import gaussian
from spikegrad.surrogate.shapes.leaky import leaky
from spikegrad.surrogate.shapes.q_pseudospike import q_pseudospike
from spikegrad.surrogate.shapes.sigmoid import sigmoid
from spikegrad.surrogate.shapes.straight_through import straight_through
from spikegrad.surrogate.shapes.superspike import superspike
from spikegrad.surrogate.shapes.triangle import triangle

__all__ = ["SPIKINGJELLY", "from_spikingjelly"]


def from_spikingjelly(name: str, *, spiking: bool = True, **arguments: Any) -> Surrogate:
    """The record for `surrogate.<name>(**arguments)`, derivative and primitive.

    `ATan(alpha)` is `(α/2)/(1 + (παx/2)²)`: our arctan of slope πα/2; `Erf(alpha)` our gaussian;
    `SuperSpike(alpha)` is `α/(1+|x|)²`: alpha scales the height there, the width is fixed.

    Args:
        name: a class of SpikingJelly's `surrogate` module.
        spiking: False for the primitive in the forward pass, our soft mode.
        arguments: that class's own (`alpha`, `w`, `c`); its defaults where not given.
    Returns:
        the same function of x = u - theta.
    Raises:
        UserError: an unknown name or argument, or a function that is no surrogate record.

    >>> from_spikingjelly("Sigmoid", alpha=4.0)
    sigmoid(slope=4.0)
    """
    record = SPIKINGJELLY.convert(name, arguments)
    return record if spiking else record.soft()


def _piecewise_quadratic(alpha: float = 1.0) -> Surrogate:
    return triangle(alpha)


def _piecewise_exp(alpha: float = 1.0) -> Surrogate:
    return exponential(alpha)


def _sigmoid(alpha: float = 4.0) -> Surrogate:
    return sigmoid(alpha)


def _soft_sign(alpha: float = 2.0) -> Surrogate:
    return fast_sigmoid(alpha)


def _super_spike(alpha: float = 1.0) -> Surrogate:
    return superspike(1.0, gain=alpha)


def _atan(alpha: float = 2.0) -> Surrogate:
    return arctan(math.pi * alpha / 2)


def _erf(alpha: float = 2.0) -> Surrogate:
    return gaussian(alpha)


def _piecewise_leaky_relu(w: float = 1.0, c: float = 0.01) -> Surrogate:
    return leaky(1 / w, leak=c * w) if c > 0 else boxcar(1 / w)


def _q_pseudo_spike(alpha: float = 2.0) -> Surrogate:
    return q_pseudospike(1.0, q=alpha)


def _rect(alpha: float = 1.0) -> Surrogate:
    return boxcar(2 * alpha)


_REGISTER = "; pass it to register(name, derivative, area=inf) if you want it"

SPIKINGJELLY = Peer(
    "spikingjelly",
    "2.0.0",
    conversions={
        "ATan": _atan,
        "DeterministicPass": lambda: straight_through(),
        "Erf": _erf,
        "PiecewiseExp": _piecewise_exp,
        "PiecewiseLeakyReLU": _piecewise_leaky_relu,
        "PiecewiseQuadratic": _piecewise_quadratic,
        "QPseudoSpike": _q_pseudo_spike,
        "Rect": _rect,
        "Sigmoid": _sigmoid,
        "SoftSign": _soft_sign,
        "SuperSpike": _super_spike,
    },
    refusals={
        "FakeNumericalGradient": "min(1/|x|, alpha) has an infinite area" + _REGISTER,
        "LeakyKReLU": "its gradient is one-sided, k above and leak below threshold" + _REGISTER,
        "LogTailedReLU": "its gradient is one-sided, 1/x above and alpha below threshold"
        + _REGISTER,
        "MultiLevelSpikeCount": "it emits counts, not spikes",
        "NonzeroSignLogAbs": "1/(1/alpha + |x|) has an infinite area" + _REGISTER,
        "PoissonPass": "it draws its spikes at random and takes x as a probability",
        "S2NN": "its gradient is one-sided, beta/(1 + x) above and a sigmoid's below threshold"
        + _REGISTER,
        "SquarewaveFourierSeries": "a sum of cosines is periodic: its gradient returns far from "
        "the threshold, with either sign",
    },
)
