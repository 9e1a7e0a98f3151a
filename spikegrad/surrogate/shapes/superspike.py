"""SuperSpike: `g(x) = 1 / (1 + k|x|)²`. It is the fast sigmoid in peak normalisation."""

from __future__ import annotations

from spikegrad.surrogate.built_in import alias
from spikegrad.surrogate.record import Surrogate

__all__ = ["superspike"]


@alias
def superspike(slope: float = 10.0, *, gain: float = 1.0) -> Surrogate:
    """SuperSpike: `g(x) = 1 / (1 + k|x|)²`.

    It is the fast sigmoid in peak normalisation.

    Args:
        slope: k (1/unit of x), larger is sharper: the full width at half maximum is 0.83/k.
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope or gain out of range.
        TypeError: one that is no number.

    Source: Zenke & Ganguli 2018, Neural Computation 30(6), 1514-1541.

    >>> superspike(10.0)
    fast_sigmoid(slope=10.0, normalisation='peak')
    """
    return Surrogate("fast_sigmoid", slope, "peak", gain)
