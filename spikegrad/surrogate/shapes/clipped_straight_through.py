"""Clipped straight-through: `g(x) = 1` where `|x| <= 1/k`, else 0.

It is the boxcar in peak normalisation.
"""

from __future__ import annotations

from spikegrad.surrogate.built_in import alias
from spikegrad.surrogate.record import Surrogate

__all__ = ["clipped_straight_through"]


@alias
def clipped_straight_through(slope: float = 1.0, *, gain: float = 1.0) -> Surrogate:
    """Clipped straight-through: `g(x) = 1` where `|x| <= 1/k`, else 0.

    It is the boxcar in peak normalisation.

    Args:
        slope: k (1/unit of x), larger is sharper: beyond 1/k the derivative is 0.
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope or gain out of range.
        TypeError: one that is no number.

    Source: Hubara et al. 2016, NeurIPS, arXiv:1602.02830.

    >>> clipped_straight_through()
    boxcar(slope=1.0, normalisation='peak')
    """
    return Surrogate("boxcar", slope, "peak", gain)
