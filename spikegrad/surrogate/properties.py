"""The figures by which surrogates are compared: closed forms where a family has them, else numbers.

`verify` compares the closed forms with numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from spikegrad.surrogate import measure
from spikegrad.surrogate.measure import Curve
from spikegrad.surrogate.record import Surrogate

__all__ = ["MEASURES", "Properties", "curve_of", "properties"]

MEASURES: dict[Literal["peak", "fwhm", "lipschitz"], Callable[[Curve], float]] = {
    "peak": lambda curve: measure.peak(curve)[1],
    "fwhm": measure.fwhm,
    "lipschitz": measure.lipschitz,
}
"""How a figure is computed that has no closed form."""


@dataclass(frozen=True)
class Properties:
    """What `properties` returns, for g(x) with x = u - theta.

    Args:
        peak: the largest |g| (1/unit of x).
        fwhm: full width at half maximum (unit of x).
        area: the integral of g.
        tail: "compact", "exponential", "gaussian", "power n" (g falls as |x|^-n) or "constant".
        lipschitz: the largest |g'|, which bounds how fast the gradient itself can change; inf where
            g jumps.

    >>> from spikegrad.surrogate import boxcar
    >>> boxcar(1.0).properties().lipschitz
    inf
    """

    peak: float
    fwhm: float
    area: float
    tail: str
    lipschitz: float


def properties(surrogate: Surrogate) -> Properties:
    """The figures of a surrogate's derivative.

    Args:
        surrogate: any record.
    Returns:
        its `Properties`: closed forms, and where there are none numbers, correct to about 1e-6
        relative.

    >>> from spikegrad.surrogate import triangle
    >>> properties(triangle(2.0)).tail
    'compact'
    """
    figures, curve = surrogate.family.figures, curve_of(surrogate)
    shape, slope = dict(surrogate.parameters), surrogate.slope
    fwhm, steepest = figures.value("fwhm", shape), figures.value("lipschitz", shape)
    with torch.inference_mode(False), torch.no_grad():
        if steepest is not None:
            steepest *= slope * surrogate.peak / surrogate.family.peak(**shape)
        return Properties(
            peak=surrogate.peak,
            fwhm=measure.fwhm(curve) if fwhm is None else fwhm / slope,
            area=surrogate.area,
            tail=measure.tail(curve, compact=math.isfinite(surrogate.support)),
            lipschitz=measure.lipschitz(curve) if steepest is None else steepest,
        )


def curve_of(surrogate: Surrogate) -> Curve:
    """The derivative of a record as a function to be measured."""
    kinks = tuple(kink / surrogate.slope for kink in surrogate.family.kinks)
    return Curve(surrogate.derivative, kinks, 1.0 / surrogate.slope)
