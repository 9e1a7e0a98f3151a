"""Slope schedules: the slope as a pure function of training progress.

A slope that grows turns a soft surrogate into a sharp one while the network learns. With progress
p in [0, 1] and slopes a (start), b (end):

    constant a;  linear a + (b-a)p;  geometric a (b/a)^p;  cosine b + (a-b)(1+cos(πp))/2;
    step: a, then b from p = 1/2 on
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from spikegrad.errors import UserError, message, unknown
from spikegrad.surrogate.arguments import check_positive

__all__ = ["SCHEDULES", "Schedule", "schedule"]

SCHEDULES: dict[str, Callable[[float, float, float], float]] = {
    "constant": lambda a, b, p: a,
    "linear": lambda a, b, p: a + (b - a) * p,
    "geometric": lambda a, b, p: a * (b / a) ** p,
    "cosine": lambda a, b, p: b + (a - b) * 0.5 * (1.0 + math.cos(math.pi * p)),
    "step": lambda a, b, p: a if p < 0.5 else b,
}


@dataclass(frozen=True)
class Schedule:
    """A slope schedule; call it with the progress.

    Args:
        name: one of `SCHEDULES`.
        start: the slope at progress 0 (1/unit of x).
        end: the slope at progress 1; None for start.

    >>> Schedule("linear", 1.0, 3.0)(0.5)
    2.0
    """

    name: str
    start: float
    end: float | None = None

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise UserError(unknown("slope schedule", self.name, SCHEDULES))
        start = check_positive("start", self.start)
        end = start if self.end is None else check_positive("end", self.end)
        if self.name == "constant" and end != start:
            raise UserError(
                message("expected end = start for a constant slope", f"{start:g} to {end:g}")
            )
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "end", end)

    def __call__(self, progress: float) -> float:
        """The slope at a progress.

        Args:
            progress: the share of training that is done, in [0, 1].
        Returns:
            the slope (1/unit of x), finite and positive.
        Raises:
            UserError: progress outside [0, 1].

        >>> Schedule("geometric", 1.0, 100.0)(0.5)
        10.0
        """
        if not 0.0 <= progress <= 1.0:
            raise UserError(message("expected progress in [0, 1]", repr(progress)))
        assert self.end is not None
        return SCHEDULES[self.name](self.start, self.end, float(progress))


def schedule(name: str, start: float, end: float | None = None) -> Schedule:
    """A slope schedule by name.

    Args:
        name: "constant", "linear", "geometric", "cosine" or "step".
        start: the slope at the beginning (1/unit of x).
        end: the slope at the end; None for start.
    Returns:
        a function of progress in [0, 1].
    Raises:
        UserError: an unknown name (lists the close ones), a slope not finite and positive.

    >>> schedule("cosine", 1.0, 5.0)(1.0)
    5.0
    """
    return Schedule(name, start, end)
