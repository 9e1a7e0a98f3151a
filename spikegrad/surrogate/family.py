"""A surrogate family: one function of unit slope, and what is known about it.

A family states `p(z)`, its primitive `P(z)` with `P' = p`, and the facts that cannot be computed
(where it is not smooth, whether its area is infinite). Where it has no closed form for a figure,
the figure is computed from `p`. A `Surrogate` record scales it: `g(x) = k p(k x)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from spikegrad.surrogate import measure
from spikegrad.surrogate.content import content

__all__ = ["ClosedForm", "Family", "Figures", "Interval"]

ClosedForm = float | Callable[..., float] | None
"""A number, a function of the shape parameters, or None where no closed form is known."""


@dataclass(frozen=True)
class Interval:
    """Where a shape parameter must lie: an open interval, closed at `low` if said so.

    >>> Interval(0.0, 1.0).admits(1.0)
    False
    """

    low: float = 0.0
    high: float = math.inf
    closed: bool = False

    def admits(self, value: float) -> bool:
        """Whether a value lies in the interval.

        >>> Interval(1.0, closed=True).admits(1.0)
        True
        """
        above = value >= self.low if self.closed else value > self.low
        return above and value < self.high

    def __str__(self) -> str:
        """The interval as people write it.

        >>> print(Interval(1.0))
        (1, inf)
        """
        return f"{'[' if self.closed else '('}{self.low:g}, {self.high:g})"


@dataclass(frozen=True)
class Figures:
    """Closed forms at slope 1, each a number, a function of the shape parameters, or None.

    Args:
        peak: the largest |p|.
        fwhm: the full width at half maximum of |p|.
        lipschitz: the largest |p'|; inf where p jumps.
        support: the half-width of the interval outside which p is exactly 0; inf with tails.

    >>> Figures(fwhm=lambda q: 2.0 * q).value("fwhm", {"q": 3.0})
    6.0
    """

    peak: ClosedForm = None
    fwhm: ClosedForm = None
    lipschitz: ClosedForm = None
    support: ClosedForm = None

    def value(
        self,
        name: Literal["peak", "fwhm", "lipschitz", "support"],
        shape: Mapping[str, float],
    ) -> float | None:
        """A figure for these shape parameters, None without a closed form."""
        form: ClosedForm = getattr(self, name)
        return form(**shape) if callable(form) else form


@dataclass(frozen=True)
class Family:
    """The definition of a surrogate at slope 1.

    Args:
        name: the name it is found by.
        formula: p(z) in words of mathematics, z = slope * x (dimensionless).
        source: the paper that introduced it.
        derivative: p(z, **parameters); made of differentiable torch operations, elementwise.
        primitive: P(z, **parameters) with P' = p, or None: then there is no soft mode and no slope
            gradient.
        figures: its closed forms.
        area: the integral of p; inf where it does not converge.
        kinks: every z at which p or p' jumps.
        default_slope: the slope used when none is given; None for a function that no slope changes.
        parameters: the interval of every shape parameter by name.
        defaults: the value of every shape parameter that is not given.

    >>> from spikegrad.surrogate import get
    >>> get("triangle").family.support()
    1.0
    """

    name: str
    formula: str
    source: str
    derivative: Callable[..., Tensor]
    primitive: Callable[..., Tensor] | None = None
    figures: Figures = Figures()
    area: float = 1.0
    kinks: tuple[float, ...] = ()
    default_slope: float | None = 1.0
    parameters: Mapping[str, Interval] = field(default_factory=dict)
    defaults: Mapping[str, float] = field(default_factory=dict)
    _found: dict[object, float] = field(default_factory=dict, repr=False, compare=False)

    @property
    def has_slope(self) -> bool:
        """Whether a slope changes the function."""
        return self.default_slope is not None

    @cached_property
    def content(self) -> int:
        """What the derivative computes, as a number: see `spikegrad.surrogate.content`."""
        return content(self.derivative)

    def peak(self, **shape: float) -> float:
        """The largest |p| for these shape parameters, its closed form or a number."""
        closed = self.figures.value("peak", shape)
        return self._number("peak", shape) if closed is None else closed

    def support(self, **shape: float) -> float:
        """The half-width of the interval outside which p is exactly 0; inf with tails."""
        closed = self.figures.value("support", shape)
        return self._number("support", shape) if closed is None else closed

    def _number(self, figure: Literal["peak", "support"], shape: Mapping[str, float]) -> float:
        key = (figure, *sorted(shape.items()))
        if key not in self._found:
            self._found[key] = number_of(self, figure, dict(shape))
        return self._found[key]


def number_of(family: Family, figure: Literal["peak", "support"], shape: dict[str, float]) -> float:
    """A figure of p from its values."""
    curve = measure.Curve(lambda z: family.derivative(z, **shape), family.kinks)
    with torch.inference_mode(False), torch.no_grad():
        return measure.peak(curve)[1] if figure == "peak" else measure.support(curve)
