"""Straight-through: `g(x) = 1` everywhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.surrogate.built_in import built_in
from spikegrad.surrogate.record import Surrogate

__all__ = ["straight_through"]


def derivative(z: Tensor) -> Tensor:
    return torch.ones_like(z)


def primitive(z: Tensor) -> Tensor:
    return z.clone()


@built_in(
    formula="1",
    source="Bengio, Léonard & Courville 2013, arXiv:1308.3432",
    derivative=derivative,
    primitive=primitive,
    area=math.inf,
    peak=1.0,
    fwhm=math.inf,
    lipschitz=0.0,
)
def straight_through(*, gain: float = 1.0) -> Surrogate:
    """Straight-through: `g(x) = 1` everywhere; no slope, infinite area.

    In recurrent networks its gradients explode: take `clipped_straight_through` there.

    Args:
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: a gain out of range.
        TypeError: one that is no number.

    Source: Bengio, Léonard & Courville 2013.

    >>> straight_through()
    straight_through()
    """
    return Surrogate("straight_through", gain=gain)
