"""Algebraic: `g(x) = (k/2) (1 + (k x)²)^(-3/2)`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.surrogate.built_in import built_in
from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = ["algebraic"]


def derivative(z: Tensor) -> Tensor:
    r = torch.rsqrt(1.0 + z * z)  # twice as fast as a power of -3/2
    return 0.5 * (r * r * r)


def primitive(z: Tensor) -> Tensor:
    return 0.5 * (1.0 + z * torch.rsqrt(1.0 + z * z))


@built_in(
    formula="(1 + z²)^(-3/2) / 2",
    source="the derivative of z/√(1 + z²), an algebraic sigmoid; no paper claims it",
    derivative=derivative,
    primitive=primitive,
    peak=0.5,
    fwhm=2.0 * math.sqrt(2.0 ** (2.0 / 3.0) - 1.0),
    lipschitz=0.75 * 0.8**2.5,
)
def algebraic(
    slope: float = 2.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Algebraic: `g(x) = (k/2) (1 + (k x)²)^(-3/2)`.

    Args:
        slope: k (1/unit of x), larger is sharper: the full width at half maximum is 1.53/k.
        normalisation: "area" or "peak" (the maximum is 1).
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope or gain out of range.
        TypeError: one that is no number.

    Source: none; it is the derivative of an algebraic sigmoid, `k x / √(1 + (k x)²) / 2`.

    >>> algebraic(2.0).peak
    1.0
    """
    return Surrogate("algebraic", slope, normalisation, gain)
