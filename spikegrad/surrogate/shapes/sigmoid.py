"""Sigmoid: `g(x) = k σ(k x) (1 - σ(k x))`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.surrogate.built_in import built_in
from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = ["sigmoid"]


def derivative(z: Tensor) -> Tensor:
    # exp(-z)/(1+exp(-z))^2 would be inf/inf for z < -88 in float32
    return torch.sigmoid(z) * torch.sigmoid(-z)


@built_in(
    formula="σ(z) (1 - σ(z)), σ(z) = 1/(1 + exp(-z))",
    source="Zenke & Vogels 2021, Neural Computation 33(4), 899-925",
    derivative=derivative,
    primitive=torch.sigmoid,
    peak=0.25,
    fwhm=4.0 * math.acosh(math.sqrt(2.0)),
    lipschitz=1.0 / (6.0 * math.sqrt(3.0)),
)
def sigmoid(
    slope: float = 4.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Sigmoid: `g(x) = k σ(k x) (1 - σ(k x))`.

    Args:
        slope: k (1/unit of x), larger is sharper: the full width at half maximum is 3.53/k.
        normalisation: "area" or "peak" (the maximum is 1).
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope or gain out of range.
        TypeError: one that is no number.

    Source: Zenke & Vogels 2021.

    >>> sigmoid(4.0).peak
    1.0
    """
    return Surrogate("sigmoid", slope, normalisation, gain)
