"""The figures by which surrogates are compared, computed from the derivative itself, in float64.

Quadrature for the area, a shrinking grid for the peak and for the Lipschitz constant, root finding
for the width. Where a family declares an infinity (an area that diverges, a derivative that
jumps) the answer is inf. The closed forms are in docs/surrogates.md; a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from spikegrad.surrogate.record import Surrogate

__all__ = ["Properties", "measured_area", "measured_peak", "properties"]

_Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Properties:
    """What `properties` returns, for g(x) with x = u - theta.

    Args:
        peak: the largest |g| (1/unit of x).
        fwhm: full width at half maximum (unit of x).
        area: the integral of g.
        tail: "compact", "exponential", "gaussian", "power n" (g falls as |x|^-n) or "constant".
        lipschitz: the largest |g'|, which bounds how fast the gradient itself can change.

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
    """Measure a surrogate's derivative.

    Args:
        surrogate: any record.
    Returns:
        its `Properties`, correct to about 1e-6 relative.

    >>> from spikegrad.surrogate import triangle
    >>> properties(triangle(2.0)).tail
    'compact'
    """
    with torch.inference_mode(False), torch.no_grad():
        place, peak = measured_peak(surrogate)
        return Properties(
            peak=peak,
            fwhm=_fwhm(surrogate, place, peak),
            area=measured_area(surrogate) if math.isfinite(surrogate.area) else math.inf,
            tail=_tail(surrogate),
            lipschitz=_lipschitz(surrogate),
        )


def measured_peak(surrogate: Surrogate) -> tuple[float, float]:
    """Where |g| is largest and how large it is.

    Args:
        surrogate: any record.
    Returns:
        x and |g(x)|.

    >>> from spikegrad.surrogate import arctan
    >>> round(measured_peak(arctan(2.0))[1], 6)
    0.63662
    """
    return _maximum(lambda x: surrogate.derivative(x).abs(), _grid(surrogate, touch=True))


def measured_area(surrogate: Surrogate) -> float:
    """The integral of g by double-exponential quadrature, piece by piece between its kinks.

    Args:
        surrogate: one whose area is finite.
    Returns:
        the area.

    >>> from spikegrad.surrogate import fast_sigmoid
    >>> round(measured_area(fast_sigmoid(3.0)), 9)
    1.0
    """
    knots = _knots(surrogate)
    step = 1.0 / 128
    t = torch.arange(-4.5, 6.1, step, dtype=torch.float64)
    distance = torch.exp(0.5 * math.pi * torch.sinh(t))  # exp-sinh for the two outer pieces
    weight = distance * (0.5 * math.pi * torch.cosh(t)) * step / surrogate.slope
    right = surrogate.derivative(knots[-1] + distance / surrogate.slope)
    left = surrogate.derivative(knots[0] - distance / surrogate.slope)
    total = float((weight * (right + left)).sum())
    t = torch.arange(-3.2, 3.2, step, dtype=torch.float64)
    node = torch.tanh(0.5 * math.pi * torch.sinh(t))  # tanh-sinh for the inner ones
    weight = 0.5 * math.pi * torch.cosh(t) / torch.cosh(0.5 * math.pi * torch.sinh(t)) ** 2 * step
    for a, b in pairwise(knots):
        half = 0.5 * (b - a)
        total += float((half * weight * surrogate.derivative(a + half * (1.0 + node))).sum())
    return total


def _knots(surrogate: Surrogate) -> list[float]:
    """The kinks in units of x, and 0."""
    return sorted({0.0, *(kink / surrogate.slope for kink in surrogate.family.kinks)})


def _grid(surrogate: Surrogate, *, touch: bool) -> Tensor:
    """Points that crowd at both sides of every kink; `touch` adds the kinks themselves."""
    knots = _knots(surrogate)
    outer = torch.logspace(-10, 6, 3201, dtype=torch.float64) / surrogate.slope
    pieces = [knots[0] - outer, knots[-1] + outer]
    t = torch.logspace(-10, math.log10(0.5), 801, dtype=torch.float64)
    for a, b in pairwise(knots):
        pieces += [a + (b - a) * t, b - (b - a) * t]
    if touch:
        pieces.append(torch.tensor(knots, dtype=torch.float64))
    return torch.cat(pieces).unique()


def _maximum(function: _Function, grid: Tensor) -> tuple[float, float]:
    """The largest value on a grid that shrinks around the largest value."""
    for _ in range(10):
        value = function(grid)
        best = int(value.argmax())
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        centre, top = float(grid[best]), float(value[best])
        fraction = torch.linspace(0.0, 1.0, 33, dtype=torch.float64)
        inner = low + (high - low) * fraction
        grid = torch.cat((inner, grid[best : best + 1])).unique()
    return centre, top


def _fwhm(surrogate: Surrogate, place: float, peak: float) -> float:
    """Walk out of the peak on either side until half of it, then shrink the bracket."""
    width = 0.0
    for side in (-1.0, 1.0):
        reach = torch.logspace(-10, 6, 1601, dtype=torch.float64) / surrogate.slope
        for _ in range(12):
            below = surrogate.derivative(place + side * reach).abs() < 0.5 * peak
            if not bool(below.any()):
                return math.inf
            first = int(below.int().argmax())
            low = reach[first - 1] if first > 0 else torch.zeros((), dtype=torch.float64)
            fraction = torch.linspace(0.0, 1.0, 33, dtype=torch.float64)
            reach = low + (reach[first] - low) * fraction
        width += float(reach[-1])
    return width


def _tail(surrogate: Surrogate) -> str:
    """Classify how |g| falls: at 1e7 and 1e8 widths if it is still there, else by its logarithm."""
    if math.isfinite(surrogate.support):
        return "compact"

    def magnitude(z: float) -> float:
        x = torch.tensor(z / surrogate.slope, dtype=torch.float64)
        return float(surrogate.derivative(x).abs())

    near, far = magnitude(1e7), magnitude(1e8)
    if far > 0.0:
        power = round(math.log10(near / far), 3)
        return "constant" if power == 0.0 else f"power {power:g}"
    # log|g| falls as z (exponential) or z^2 (gaussian): compare it at z and 2z, before underflow
    top, z = magnitude(0.0) or surrogate.peak, 1.0
    while magnitude(4.0 * z) > 1e-280 * top:
        z *= 1.25
    ratio = math.log(magnitude(2.0 * z) / top) / math.log(magnitude(z) / top)
    return "gaussian" if ratio > 3.0 else "exponential"


def _lipschitz(surrogate: Surrogate) -> float:
    if surrogate.family.jumps:
        return math.inf

    def steepness(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = surrogate.derivative(x)
            if not value.requires_grad:  # constant
                return torch.zeros_like(x)
            (slope,) = torch.autograd.grad(value.sum(), x)
        return slope.abs()

    return _maximum(steepness, _grid(surrogate, touch=False))[1]
