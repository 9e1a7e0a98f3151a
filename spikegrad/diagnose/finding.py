"""What a check has to say: one problem, one figure, one line of advice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["SEVERITIES", "Finding", "Severity", "ordered"]

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing that a preflight found.

    layer: the module's full name, "" for the input, the output or the loss; severity: "error" (it
    will not learn), "warning" (it will learn badly) or "info" (good to know); problem: what is
    the case, a predicate of the layer or a whole sentence; measure: the figure behind it; advice:
    what to do.

    >>> print(Finding("2", "error", "never fires", 0.0, "use --calibrate 0.05").line())
    layer 2 never fires; use --calibrate 0.05
    """

    layer: str
    severity: Severity
    problem: str
    measure: float
    advice: str

    def line(self) -> str:
        """The finding in one line."""
        start = f"layer {self.layer} {self.problem}" if self.layer else self.problem
        return f"{start}; {self.advice}" if self.advice else start


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings; within each as they were found."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
