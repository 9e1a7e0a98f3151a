"""Arctan: `g(x) = (k/π) / (1 + (k x)²)`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.surrogate.built_in import built_in
from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = ["arctan"]


def derivative(z: Tensor) -> Tensor:
    return (1.0 / math.pi) / (1.0 + z * z)


def primitive(z: Tensor) -> Tensor:
    return 0.5 + torch.atan(z) / math.pi


@built_in(
    formula="(1/π) / (1 + z²)",
    source="Fang et al. 2021, ICCV, arXiv:2007.05785",
    derivative=derivative,
    primitive=primitive,
    peak=1.0 / math.pi,
    fwhm=2.0,
    lipschitz=3.0 * math.sqrt(3.0) / (8.0 * math.pi),
)
def arctan(
    slope: float = 2.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Arctan: `g(x) = (k/π) / (1 + (k x)²)`.

    Args:
        slope: k (1/unit of x), larger is sharper: the full width at half maximum is 2/k.
        normalisation: "area" or "peak" (the maximum is 1).
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope or gain out of range.
        TypeError: one that is no number.

    Source: Fang et al. 2021.

    >>> arctan(2.0).peak
    0.6366197723675814
    """
    return Surrogate("arctan", slope, normalisation, gain)
