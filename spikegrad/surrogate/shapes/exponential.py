"""Exponential (Laplace): `g(x) = (k/2) exp(-k|x|)`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.surrogate.built_in import built_in
from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = ["exponential"]


def derivative(z: Tensor) -> Tensor:
    return 0.5 * torch.exp(-z.abs())


def primitive(z: Tensor) -> Tensor:
    return 0.5 - 0.5 * torch.sign(z) * torch.expm1(-z.abs())


@built_in(
    formula="exp(-|z|) / 2",
    source="Shrestha & Orchard 2018 (SLAYER), NeurIPS, arXiv:1810.08646",
    derivative=derivative,
    primitive=primitive,
    kinks=(0.0,),
    peak=0.5,
    fwhm=2.0 * math.log(2.0),
    lipschitz=0.5,
)
def exponential(
    slope: float = 2.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Exponential (Laplace): `g(x) = (k/2) exp(-k|x|)`.

    Args:
        slope: k (1/unit of x), larger is sharper: the full width at half maximum is 1.39/k.
        normalisation: "area" or "peak" (the maximum is 1).
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope or gain out of range.
        TypeError: one that is no number.

    Source: Shrestha & Orchard 2018.

    >>> exponential(2.0).peak
    1.0
    """
    return Surrogate("exponential", slope, normalisation, gain)
