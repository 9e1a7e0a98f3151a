"""Boxcar: `g(x) = k/2` where `|x| <= 1/k`, else 0."""

from __future__ import annotations

import math

from torch import Tensor

from spikegrad.surrogate.built_in import built_in
from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = ["boxcar"]


def derivative(z: Tensor) -> Tensor:
    return 0.5 * (z.abs() <= 1.0).to(z.dtype)


def primitive(z: Tensor) -> Tensor:
    return (0.5 + 0.5 * z).clamp(0.0, 1.0)


@built_in(
    formula="1/2 where |z| <= 1, else 0",
    source="Wu et al. 2018, Frontiers in Neuroscience 12:331",
    derivative=derivative,
    primitive=primitive,
    kinks=(-1.0, 1.0),
    peak=0.5,
    fwhm=2.0,
    lipschitz=math.inf,
)
def boxcar(
    slope: float = 1.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Boxcar: `g(x) = k/2` where `|x| <= 1/k`, else 0.

    Args:
        slope: k (1/unit of x), larger is sharper: beyond 1/k the derivative is 0.
        normalisation: "area" or "peak" (the maximum is 1).
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope or gain out of range.
        TypeError: one that is no number.

    Source: Wu et al. 2018.

    >>> boxcar(2.0).peak
    1.0
    """
    return Surrogate("boxcar", slope, normalisation, gain)
