"""Multi-Gaussian: a Gaussian of deviation 1/k less two lobes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.surrogate.built_in import built_in
from spikegrad.surrogate.family import Interval
from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = ["multi_gaussian"]


def derivative(z: Tensor, *, h: float, s: float) -> Tensor:
    lobes = _normal((z - 1.0) / s) + _normal((z + 1.0) / s)
    return ((1.0 + h) * _normal(z) - (h / s) * lobes) / (1.0 - h)


def primitive(z: Tensor, *, h: float, s: float) -> Tensor:
    lobes = _normal_primitive((z - 1.0) / s) + _normal_primitive((z + 1.0) / s)
    return ((1.0 + h) * _normal_primitive(z) - h * lobes) / (1.0 - h)


def peak(*, h: float, s: float) -> float:
    lobes = 2.0 * h / s * math.exp(-0.5 / s**2)
    return (1.0 + h - lobes) / math.sqrt(2.0 * math.pi) / (1.0 - h)


def _normal(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _normal_primitive(z: Tensor) -> Tensor:
    return 0.5 * (1.0 + torch.erf(z / math.sqrt(2.0)))


@built_in(
    formula="((1+h) φ(z) - h φ((z-1)/s)/s - h φ((z+1)/s)/s) / (1-h), φ the normal density",
    source="Yin, Corradi & Bohte 2021, Nature Machine Intelligence 3, 905-913",
    derivative=derivative,
    primitive=primitive,
    peak=peak,
    within={"h": Interval(0.0, 1.0, closed=True), "s": Interval(1.0, closed=True)},
)
def multi_gaussian(
    slope: float = 2.0,
    *,
    h: float = 0.15,
    s: float = 6.0,
    normalisation: Normalisation = "area",
    gain: float = 1.0,
) -> Surrogate:
    """Multi-Gaussian: a Gaussian of deviation 1/k less two lobes.

    `p(z) = ((1+h) φ(z) - h φ((z-1)/s)/s - h φ((z+1)/s)/s) / (1-h)`. The paper's own form has area
    1-h: pass `gain=1-h` for it.

    Args:
        slope: k (1/unit of x), larger is sharper: the deviation of the middle part is 1/k.
        h: the weight of each lobe, in [0, 1).
        s: how many times as wide a lobe is, at least 1.
        normalisation: "area" or "peak" (the maximum is 1).
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope, h, s or gain out of range.
        TypeError: one that is no number.

    Source: Yin, Corradi & Bohte 2021.

    >>> multi_gaussian(2.0)
    multi_gaussian(slope=2.0, h=0.15, s=6.0)
    """
    return Surrogate("multi_gaussian", slope, normalisation, gain, parameters=(("h", h), ("s", s)))
