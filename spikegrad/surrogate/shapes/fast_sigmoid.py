"""Fast sigmoid: `g(x) = (k/2) / (1 + k|x|)²`."""

from __future__ import annotations

import math

from torch import Tensor

from spikegrad.surrogate.built_in import built_in
from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = ["fast_sigmoid"]


def derivative(z: Tensor) -> Tensor:
    return 0.5 / (1.0 + z.abs()) ** 2


def primitive(z: Tensor) -> Tensor:
    return 0.5 * (1.0 + z / (1.0 + z.abs()))


@built_in(
    formula="1 / (2 (1 + |z|)²)",
    source="Zenke & Ganguli 2018, Neural Computation 30(6), 1514-1541",
    derivative=derivative,
    primitive=primitive,
    kinks=(0.0,),
    peak=0.5,
    fwhm=2.0 * (math.sqrt(2.0) - 1.0),
    lipschitz=1.0,
)
def fast_sigmoid(
    slope: float = 2.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Fast sigmoid: `g(x) = (k/2) / (1 + k|x|)²`.

    Args:
        slope: k (1/unit of x), larger is sharper: the full width at half maximum is 0.83/k.
        normalisation: "area" or "peak" (the maximum is 1).
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope or gain out of range.
        TypeError: one that is no number.

    Source: Zenke & Ganguli 2018.

    >>> fast_sigmoid(2.0).peak
    1.0
    """
    return Surrogate("fast_sigmoid", slope, normalisation, gain)
