"""Tanh: `G(x) = (1 + tanh(k x))/2`. It is the sigmoid of slope 2k."""

from __future__ import annotations

from spikegrad.surrogate.built_in import alias
from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = ["tanh"]


@alias
def tanh(
    slope: float = 2.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Tanh: `G(x) = (1 + tanh(k x))/2`.

    It is the sigmoid of slope 2k.

    Args:
        slope: k (1/unit of x), larger is sharper: the full width at half maximum is 1.76/k.
        normalisation: "area" or "peak" (the maximum is 1).
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope or gain out of range.
        TypeError: one that is no number.

    Source: the identity `(1 + tanh z)/2 = σ(2z)`.

    >>> tanh(2.0)
    sigmoid(slope=4.0)
    """
    return Surrogate("sigmoid", _twice(slope), normalisation, gain)


def _twice(slope: float) -> float:
    return 2 * slope if isinstance(slope, (int, float)) and not isinstance(slope, bool) else slope
