"""Gaussian, the derivative of erf: `g(x) = k exp(-(k x)²) / √π`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.surrogate.built_in import built_in
from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = ["gaussian"]


def derivative(z: Tensor) -> Tensor:
    return torch.exp(-z * z) / math.sqrt(math.pi)


def primitive(z: Tensor) -> Tensor:
    return 0.5 * (1.0 + torch.erf(z))


@built_in(
    formula="exp(-z²) / √π",
    source="Wu et al. 2018, Frontiers in Neuroscience 12:331; Yin et al. 2020, ICONS",
    derivative=derivative,
    primitive=primitive,
    peak=1.0 / math.sqrt(math.pi),
    fwhm=2.0 * math.sqrt(math.log(2.0)),
    lipschitz=math.sqrt(2.0 / (math.e * math.pi)),
)
def gaussian(
    slope: float = 2.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Gaussian, the derivative of erf: `g(x) = k exp(-(k x)²) / √π`.

    Args:
        slope: k (1/unit of x), larger is sharper: the full width at half maximum is 1.67/k.
        normalisation: "area" or "peak" (the maximum is 1).
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope or gain out of range.
        TypeError: one that is no number.

    Source: Wu et al. 2018; Yin et al. 2020.

    >>> round(gaussian(2.0).peak, 4)
    1.1284
    """
    return Surrogate("gaussian", slope, normalisation, gain)
