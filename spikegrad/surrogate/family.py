"""A surrogate family: one function of unit slope, and what is known about it.

A family states `p(z)`, its primitive `P(z)` with `P' = p`, and the facts that cannot be computed
(where it is not smooth, where it ends, whether its area is infinite). A `Surrogate` record scales
it: `g(x) = k p(k x)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from spikegrad.surrogate.content import content

__all__ = ["Family", "Parameter"]


@dataclass(frozen=True)
class Parameter:
    """A shape parameter of a family: its default and the open interval it must lie in.

    >>> Parameter(0.15, low=0.0, high=1.0).admits(1.0)
    False
    """

    default: float
    low: float = 0.0
    high: float = math.inf
    closed: bool = False  # whether `low` itself is admitted

    def admits(self, value: float) -> bool:
        """Whether a value lies in the interval.

        >>> Parameter(6.0, low=1.0, closed=True).admits(1.0)
        True
        """
        above = value >= self.low if self.closed else value > self.low
        return above and value < self.high

    def interval(self) -> str:
        """The interval as people write it.

        >>> Parameter(2.0, low=1.0).interval()
        'in (1, inf)'
        """
        return f"in {'[' if self.closed else '('}{self.low:g}, {self.high:g})"


@dataclass(frozen=True)
class Family:
    """The definition of a surrogate at slope 1.

    `p = P'`, and `|p|` has its maximum `peak(**parameters)`.

    Args:
        name: the name it is found by.
        formula: p(z) in words of mathematics, z = slope * x (dimensionless).
        source: the paper that introduced it.
        derivative: p(z, **parameters); made of differentiable torch operations, elementwise.
        peak: the maximum of |p| as a function of the parameters.
        primitive: P(z, **parameters), or None: then there is no soft mode and no slope gradient.
        support: half-width of the interval outside which p is exactly 0; inf with tails.
        area: the integral of p; inf where it does not converge.
        kinks: every z at which p or p' jumps.
        jumps: whether p itself jumps at a kink (its Lipschitz constant is then infinite).
        has_slope: False for a function that no slope changes.
        default_slope: the slope used when none is given.
        parameters: shape parameters by name.

    >>> from spikegrad.surrogate.families import find
    >>> find("triangle").support
    1.0
    """

    name: str
    formula: str
    source: str
    derivative: Callable[..., Tensor]
    peak: Callable[..., float]
    primitive: Callable[..., Tensor] | None = None
    support: float = math.inf
    area: float = 1.0
    kinks: tuple[float, ...] = ()
    jumps: bool = False
    has_slope: bool = True
    default_slope: float = 1.0
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @cached_property
    def content(self) -> int:
        """What the derivative computes, as a number: see `spikegrad.surrogate.content`."""
        return content(self.derivative)
