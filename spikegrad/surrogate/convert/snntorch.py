"""snnTorch 1.0.0 (`snntorch.surrogate`) in our records."""

from __future__ import annotations

import math
from typing import Any

from spikegrad.surrogate.convert.peer import Peer
from spikegrad.surrogate.record import Surrogate
from spikegrad.surrogate.shapes.arctan import arctan
from spikegrad.surrogate.shapes.sigmoid import sigmoid
from spikegrad.surrogate.shapes.straight_through import straight_through
from spikegrad.surrogate.shapes.superspike import superspike

__all__ = ["SNNTORCH", "from_snntorch"]


def from_snntorch(name: str, **arguments: Any) -> Surrogate:
    """The record for `snntorch.surrogate.<name>(**arguments)`.

    `atan(alpha)` is `(α/2)/(1 + (παx/2)²)`: our arctan of slope πα/2;
    `fast_sigmoid(slope)` is our SuperSpike.

    Args:
        name: a factory of `snntorch.surrogate`.
        arguments: that factory's own (`slope`, `alpha`); its defaults where not given.
    Returns:
        the same function of x = u - theta. (snnTorch spikes at x > 0, we at x >= 0.)
    Raises:
        UserError: an unknown name or argument, or a function that the release computes wrongly.

    >>> from_snntorch("fast_sigmoid", slope=25)
    fast_sigmoid(slope=25.0, normalisation='peak')
    """
    return SNNTORCH.convert(name, arguments)


def _atan(alpha: float = 2.0) -> Surrogate:
    return arctan(math.pi * alpha / 2)


def _fast_sigmoid(slope: float = 25.0) -> Surrogate:
    return superspike(slope)


def _sigmoid(slope: float = 25.0) -> Surrogate:
    return sigmoid(slope)


def _straight_through() -> Surrogate:
    return straight_through()


SNNTORCH = Peer(
    "snntorch",
    "1.0.0",
    conversions={
        "atan": _atan,
        "fast_sigmoid": _fast_sigmoid,
        "sigmoid": _sigmoid,
        "straight_through_estimator": _straight_through,
    },
    refusals={
        "triangular": "release 1.0.0 returns +threshold below and -threshold above it, the wrong "
        "sign and no triangle; take triangle(slope)",
        "SFS": "release 1.0.0 keeps the gradient where x > B instead of |x| < B, so it is 0 at the "
        "threshold itself; take superspike(slope), or triangle(slope) for exact zeros",
        "LSO": "release 1.0.0 calls the stochastic operator without its variance and fails; "
        "documented is 1 above and slope below threshold, one-sided; take leaky(slope, leak=...)",
        "spike_rate_escape": "release 1.0.0 computes slope exp(-beta|x - 1|) with x = u - theta, "
        "which peaks one unit above the threshold; take exponential(beta, gain=2 * slope / beta)",
        "SSO": "its gradient is random; no derivative of any function is",
        "heaviside": "its gradient is the spike itself, 1 above and 0 below threshold, so silent "
        "neurons never learn; take clipped_straight_through()",
        "custom_surrogate": "it wraps a function of yours; pass that to register(name, derivative)",
    },
    warnings={
        "sigmoid": "returns NaN where exp(-slope x) overflows (x < -88/slope in float32); the "
        "converted surrogate is finite there and equal elsewhere",
    },
)
