"""Figures of a function of one variable, found from its values alone, in float64.

Quadrature for the area, a shrinking grid for the peak, the Lipschitz constant and the end of the
support, root finding for the width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["Curve", "area", "fwhm", "jumps_at", "lipschitz", "peak", "support", "tail"]

_Function = Callable[[Tensor], Tensor]
_UNDERFLOW = 1e-200  # of the peak: a function that is smaller where it ends was rounded to 0


@dataclass(frozen=True)
class Curve:
    """A function to be measured.

    Args:
        function: elementwise, of a tensor of float64.
        kinks: every place where it or its derivative jumps.
        unit: the length on which it varies; for a surrogate 1/slope.
    """

    function: _Function
    kinks: tuple[float, ...] = ()
    unit: float = 1.0

    @property
    def knots(self) -> list[float]:
        """The kinks and 0, sorted."""
        return sorted({0.0, *self.kinks})

    def at(self, x: float) -> float:
        """The larger |function| at x and at -x.

        >>> Curve(torch.relu).at(2.0)
        2.0
        """
        return float(self.function(torch.tensor([x, -x], dtype=torch.float64)).abs().max())


def peak(curve: Curve) -> tuple[float, float]:
    """Where |function| is largest, and how large it is there.

    >>> peak(Curve(lambda x: torch.relu(1.0 - x.abs()), (-1.0, 0.0, 1.0)))[1]
    1.0
    """
    return _maximum(lambda x: curve.function(x).abs(), _grid(curve, touch=True))


def area(curve: Curve) -> float:
    """The integral, by double-exponential quadrature, piece by piece between its kinks.

    >>> round(area(Curve(lambda x: 1.0 / (1.0 + x * x))), 9)
    3.141592654
    """
    knots = curve.knots
    step = 1.0 / 128
    t = torch.arange(-4.5, 6.1, step, dtype=torch.float64)
    distance = torch.exp(0.5 * math.pi * torch.sinh(t))  # exp-sinh for the two outer pieces
    weight = distance * (0.5 * math.pi * torch.cosh(t)) * step * curve.unit
    right = curve.function(knots[-1] + distance * curve.unit)
    left = curve.function(knots[0] - distance * curve.unit)
    total = float((weight * (right + left)).sum())
    t = torch.arange(-3.2, 3.2, step, dtype=torch.float64)
    node = torch.tanh(0.5 * math.pi * torch.sinh(t))  # tanh-sinh for the inner ones
    weight = 0.5 * math.pi * torch.cosh(t) / torch.cosh(0.5 * math.pi * torch.sinh(t)) ** 2 * step
    for a, b in pairwise(knots):
        half = 0.5 * (b - a)
        total += float((half * weight * curve.function(a + half * (1.0 + node))).sum())
    return total


def fwhm(curve: Curve) -> float:
    """The full width at half maximum: out of the peak on either side until half of it is left.

    >>> round(fwhm(Curve(lambda x: torch.exp(-x.abs()), (0.0,))), 6)  # 2 log 2
    1.386294
    """
    place, top = peak(curve)
    width = 0.0
    for side in (-1.0, 1.0):
        reach = torch.logspace(-10, 6, 1601, dtype=torch.float64) * curve.unit
        for _ in range(12):
            below = curve.function(place + side * reach).abs() < 0.5 * top
            if not bool(below.any()):
                return math.inf
            reach = _between(reach, int(below.int().argmax()))
        width += float(reach[-1])
    return width


def support(curve: Curve) -> float:
    """The largest |x| at which the function is not 0; inf where it has tails.

    A tail that ends because small numbers are rounded to 0 is a tail.

    >>> support(Curve(lambda x: torch.relu(2.0 - x.abs()), (-2.0, 0.0, 2.0)))
    2.0
    >>> support(Curve(lambda x: torch.exp(-x * x)))
    inf
    """

    def values(reach: Tensor) -> Tensor:
        return torch.maximum(curve.function(reach).abs(), curve.function(-reach).abs())

    reach = torch.logspace(-10, 12, 4401, dtype=torch.float64) * curve.unit
    kinks = torch.tensor(curve.kinks, dtype=torch.float64).abs()
    reach = torch.cat((reach, kinks, kinks * (1 - 1e-9), kinks * (1 + 1e-9))).unique()
    for _ in range(12):
        there = (values(reach) != 0.0).nonzero()
        if len(there) == 0:
            return 0.0
        last = int(there[-1])
        if last == len(reach) - 1:
            return math.inf
        reach = torch.cat((reach[last : last + 1], _between(reach[last:], 1)))
    # Well inside the end, where a power of any size is still far above what underflow leaves.
    if float(values(0.999 * reach[:1])) < _UNDERFLOW * peak(curve)[1]:
        return math.inf
    edge = float(f"{float(reach[-1]):.12g}")  # the end itself, not the number after it
    # A small difference is rounded to 0 before the end: a kink says where that is.
    return next((k for k in map(abs, curve.kinks) if 0 <= k - edge < 1e-6 * k), edge)


def tail(curve: Curve, *, compact: bool) -> str:
    """How |function| falls: at 1e7 and 1e8 units if it is still there, else by its logarithm.

    Args:
        curve: the function.
        compact: whether it is 0 outside of a finite support.
    Returns:
        "compact", "exponential", "gaussian", "power n" or "constant".

    >>> tail(Curve(lambda x: 1.0 / (1.0 + x * x)), compact=False)
    'power 2'
    """
    if compact:
        return "compact"
    near, far = curve.at(1e7 * curve.unit), curve.at(1e8 * curve.unit)
    if far > 0.0:
        power = round(math.log10(near / far), 3)
        return "constant" if power == 0.0 else f"power {power:g}"
    # log|g| falls as z (exponential) or z^2 (gaussian): compare it at z and 2z, before underflow
    top, z = curve.at(0.0) or peak(curve)[1], curve.unit
    while curve.at(4.0 * z) > 1e-280 * top:
        z *= 1.25
    ratio = math.log(curve.at(2.0 * z) / top) / math.log(curve.at(z) / top)
    return "gaussian" if ratio > 3.0 else "exponential"


def lipschitz(curve: Curve) -> float:
    """The largest |derivative| of the function; inf where it jumps.

    >>> lipschitz(Curve(lambda x: torch.relu(1.0 - x.abs()), (-1.0, 0.0, 1.0)))
    1.0
    """
    if any(jumps_at(curve, kink) for kink in curve.kinks):
        return math.inf

    def steepness(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = curve.function(x)
            if not value.requires_grad:  # constant
                return torch.zeros_like(x)
            (slope,) = torch.autograd.grad(value.sum(), x)
        return slope.abs()

    return _maximum(steepness, _grid(curve, touch=False))[1]


def jumps_at(curve: Curve, place: float) -> bool:
    """Whether the function jumps: its values 1e-9 units to either side differ by more than 1e-6 of
    the peak.

    >>> jumps_at(Curve(torch.sign, (0.0,)), 0.0), jumps_at(Curve(torch.tanh), 0.0)
    (True, False)
    """
    aside = 1e-9 * curve.unit
    low, high = curve.function(
        torch.tensor([place - aside, place + aside], dtype=torch.float64)
    ).tolist()
    return bool(abs(high - low) > 1e-6 * peak(curve)[1])


def _grid(curve: Curve, *, touch: bool) -> Tensor:
    """Points that crowd at both sides of every kink; `touch` adds the kinks themselves."""
    knots = curve.knots
    outer = torch.logspace(-10, 6, 3201, dtype=torch.float64) * curve.unit
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


def _between(reach: Tensor, first: int) -> Tensor:
    """A finer row of places, from the one before `first` (0 if there is none) to it."""
    low = reach[first - 1] if first > 0 else torch.zeros((), dtype=torch.float64)
    fraction = torch.linspace(0.0, 1.0, 33, dtype=torch.float64)
    return low + (reach[first] - low) * fraction
