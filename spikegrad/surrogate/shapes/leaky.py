"""Piecewise leaky ReLU: `g(x) = k/2` where `|x| <= 1/k`, else `k leak`."""

from __future__ import annotations

import math

from torch import Tensor

from spikegrad.surrogate.built_in import built_in
from spikegrad.surrogate.family import Interval
from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = ["leaky"]


def derivative(z: Tensor, *, leak: float) -> Tensor:
    inside = (z.abs() <= 1.0).to(z.dtype)
    return leak + (0.5 - leak) * inside


def primitive(z: Tensor, *, leak: float) -> Tensor:
    inside = z.clamp(-1.0, 1.0)
    return 0.5 + 0.5 * inside + leak * (z - inside)


@built_in(
    formula="1/2 where |z| <= 1, else leak",
    source="piecewise leaky ReLU; Yin et al. 2017, arXiv:1706.03609",
    derivative=derivative,
    primitive=primitive,
    area=math.inf,
    kinks=(-1.0, 1.0),
    peak=0.5,
    fwhm=lambda leak: 2.0 if leak < 0.25 else math.inf,
    lipschitz=math.inf,
    within={"leak": Interval(0.0, 0.5)},
)
def leaky(
    slope: float = 1.0,
    *,
    leak: float = 0.01,
    normalisation: Normalisation = "area",
    gain: float = 1.0,
) -> Surrogate:
    """Piecewise leaky ReLU: `g(x) = k/2` where `|x| <= 1/k`, else `k leak`.

    Its area is infinite.

    Args:
        slope: k (1/unit of x), larger is sharper: the derivative jumps at 1/k.
        leak: the derivative outside at slope 1, in (0, 1/2).
        normalisation: "area" or "peak" (the maximum is 1).
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope, leak or gain out of range.
        TypeError: one that is no number.

    Source: Yin et al. 2017.

    >>> leaky(1.0, leak=0.1).area
    inf
    """
    return Surrogate("leaky", slope, normalisation, gain, parameters=(("leak", leak),))
