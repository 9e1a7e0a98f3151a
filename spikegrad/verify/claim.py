"""A claim: a statement of the theory, its source, and a function that measures whether it holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["Claim", "Measured", "NotRun", "claim"]


class NotRun(Exception):
    """This machine lacks what a claim needs; the text says what."""


@dataclass(frozen=True)
class Measured:
    """One figure of a claim.

    what: what was measured; value: the figure; least, most: where it must lie, both included.

    >>> Measured("error", 1e-9, most=1e-6).holds, Measured("error", float("nan"), most=1.0).holds
    (True, False)
    """

    what: str
    value: float
    least: float = -math.inf
    most: float = math.inf

    @property
    def holds(self) -> bool:
        """Whether the figure lies where it must; NaN lies nowhere."""
        return self.least <= self.value <= self.most

    @property
    def used(self) -> float:
        """How near to its limit the figure is: 0 far inside, 1 at the limit, more outside."""
        if math.isnan(self.value):
            return math.inf
        above = self.value / self.most if 0 < self.most < math.inf else 0.0
        below = self.least / self.value if self.least > 0 and self.value > 0 else 0.0
        return math.inf if not self.holds else max(above, below, 0.0)

    def text(self) -> str:
        """The figure with its limit, in one line.

        >>> Measured("error", 2e-9, most=1e-6).text()
        'error: 2e-09 (at most 1e-06)'
        """
        limits = [f"at least {self.least:.3g}"] if self.least > -math.inf else []
        limits += [f"at most {self.most:.3g}"] if self.most < math.inf else []
        return f"{self.what}: {self.value:.3g}" + (f" ({', '.join(limits)})" if limits else "")


@dataclass(frozen=True)
class Claim:
    """A statement that can be checked.

    name: by which it is asked for; statement: what is claimed; source: where it is from; remedy:
    what to do if it fails; measure: seed -> figures, raises `NotRun` where this machine lacks what
    it needs.
    """

    name: str
    statement: str
    source: str
    remedy: str
    measure: Callable[[int], Iterable[Measured]]


def claim(
    *, statement: str, source: str, remedy: str
) -> Callable[[Callable[[int], Iterable[Measured]]], Claim]:
    """Make a claim of the function that measures it; its name is that of the function.

    >>> @claim(statement="1 + 1 = 2", source="Peano 1889", remedy="another computer")
    ... def one_and_one(seed: int) -> list[Measured]:
    ...     return [Measured("the sum", 1 + 1, 2, 2)]
    >>> one_and_one.name
    'one-and-one'
    """

    def made(measure: Callable[[int], Iterable[Measured]]) -> Claim:
        name = measure.__name__.replace("_", "-")
        return Claim(name, statement, source, remedy, measure)

    return made
