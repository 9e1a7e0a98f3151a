"""Norse 1.1.0 (`norse.torch.functional.threshold`) in our records."""

from __future__ import annotations

from typing import Any

from spikegrad.surrogate.convert.peer import Peer
from spikegrad.surrogate.record import Surrogate
from spikegrad.surrogate.shapes.algebraic import algebraic
from spikegrad.surrogate.shapes.gaussian import gaussian
from spikegrad.surrogate.shapes.superspike import superspike
from spikegrad.surrogate.shapes.tanh import tanh
from spikegrad.surrogate.shapes.triangle import triangle

__all__ = ["NORSE", "from_norse"]


def from_norse(name: str, **arguments: Any) -> Surrogate:
    """The record for `threshold(x, method, alpha)`, the `method` and `alpha` of Norse's parameters.

    `tanh` is sech²(αx), `circ` is (1 + (x/α)²)^(-3/2), `heavi_erfc` is (2/√π) exp(-(αx)²),
    `triangle` is α max(0, 1-|x|).

    Args:
        name: the method.
        arguments: `alpha`, 100 where not given.
    Returns:
        the same function of x = u - theta. (Norse spikes at x > 0, we at x >= 0.)
    Raises:
        UserError: an unknown method or argument, or a method without a gradient.

    >>> from_norse("tanh", alpha=2.0)
    sigmoid(slope=4.0, normalisation='peak')
    """
    return NORSE.convert(name, arguments)


def _super(alpha: float = 100.0) -> Surrogate:
    return superspike(alpha)


def _triangle(alpha: float = 100.0) -> Surrogate:
    return triangle(1.0, gain=alpha)


def _tanh(alpha: float = 100.0) -> Surrogate:
    return tanh(alpha, normalisation="peak")


def _circ(alpha: float = 100.0) -> Surrogate:
    return algebraic(1 / alpha, normalisation="peak")


def _heavi_erfc(alpha: float = 100.0) -> Surrogate:
    return gaussian(alpha, gain=2 / alpha)


_RANDOM = "it draws its spikes at random"

NORSE = Peer(
    "norse",
    "1.1.0",
    conversions={
        "circ": _circ,
        "heavi_erfc": _heavi_erfc,
        "super": _super,
        "tanh": _tanh,
        "triangle": _triangle,
    },
    refusals={
        "circ_dist": _RANDOM,
        "heaviside": "it has no gradient",
        "logistic": _RANDOM,
    },
    warnings={
        "super": "ignores alpha and computes 1/(1+|x|)²; converted is the documented "
        "1/(1+alpha|x|)², and what the release computes is superspike(1.0)",
    },
)
