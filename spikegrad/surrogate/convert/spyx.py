"""Spyx 1.0.0 (`spyx.axn`) in our records."""

from __future__ import annotations

import math
from typing import Any

from spikegrad.surrogate.convert.peer import Peer
from spikegrad.surrogate.record import Surrogate
from spikegrad.surrogate.shapes.arctan import arctan
from spikegrad.surrogate.shapes.boxcar import boxcar
from spikegrad.surrogate.shapes.superspike import superspike
from spikegrad.surrogate.shapes.tanh import tanh
from spikegrad.surrogate.shapes.triangle import triangle

__all__ = ["SPYX", "from_spyx"]


def from_spyx(name: str, **arguments: Any) -> Surrogate:
    """The record for `spyx.axn.<name>(**arguments)`.

    `arctan(k)` is `(1/π)/(1 + (πkx)²)`, `tanh(k)` is sech²(kx), `boxcar` is `height` where
    |x| < width/2.

    Args:
        name: a factory of `spyx.axn`.
        arguments: that factory's own (`k`, `width`, `height`); its defaults where not given.
    Returns:
        the same function of x = u - theta. (Spyx spikes at x > 0, we at x >= 0.)
    Raises:
        UserError: an unknown name or argument, or a function that is no surrogate record.

    >>> from_spyx("boxcar", width=2, height=0.5)
    boxcar(slope=1.0, normalisation='peak', gain=0.5)
    """
    return SPYX.convert(name, arguments)


def _arctan(k: float = 2.0) -> Surrogate:
    return arctan(math.pi * k, normalisation="peak", gain=1 / math.pi)


def _boxcar(width: float = 2.0, height: float = 0.5) -> Surrogate:
    return boxcar(2 / width, normalisation="peak", gain=height)


def _superspike(k: float = 25.0) -> Surrogate:
    return superspike(k)


def _tanh(k: float = 1.0) -> Surrogate:
    return tanh(k, normalisation="peak")


def _triangular(k: float = 2.0) -> Surrogate:
    return triangle(k, normalisation="peak")


SPYX = Peer(
    "spyx",
    "1.0.0",
    conversions={
        "arctan": _arctan,
        "boxcar": _boxcar,
        "superspike": _superspike,
        "tanh": _tanh,
        "triangular": _triangular,
    },
    refusals={
        "custom": "it wraps a function of yours; pass that to register(name, derivative). Its "
        "default, documented as straight-through, multiplies the gradient by x",
        "heaviside": "it is the step itself and has no gradient",
    },
)
