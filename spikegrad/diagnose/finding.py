"""What a check has to say: one problem, one figure, why it matters, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from spikegrad.diagnose.text import finite

__all__ = ["SEVERITIES", "WHY", "Finding", "Severity", "ordered"]

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")

WHY: dict[str, str] = {
    # the input
    "input-silent": "there is nothing to learn from",
    "input-constant": "there is nothing to tell the samples apart by",
    "input-same": "there is nothing to tell the samples apart by",
    "input-large": "neurons fire at every step or never, far from where the surrogate has a slope",
    "input-empty": "these samples teach nothing",
    "time-step": "time constants and delays in ms do not mean the same in all layers",
    # spikes
    "unseen": "nothing is known of what it sends on",
    "no-spikes": "there is no surrogate gradient to look at",
    "silent": "nothing behind it sees the input",
    "saturated": "what it sends on is the same whatever the input",
    "nearly-saturated": "what it sends on hardly depends on the input",
    "sparse": "what is behind it sees almost nothing",
    "unused": "most of the layer does no work",
    "stuck": "these neurons say nothing about the input",
    # gradients
    "blocked": "no layer before it learns",
    "narrow": "the layers before it hardly learn",
    "zero-gradient": "training leaves it as it is",
    "detached": "training leaves it as it is",
    "not-finite": "the first step destroys the weights",
    "overflows": "the first step destroys the weights",
    "explodes": "single steps change the weights far too much",
    "vanishes": "the beginning of the sequence teaches nothing",
    "short-memory": "what is longer ago is not learned from the end",
    "depth-vanishes": "the first layers hardly learn",
    "depth-explodes": "the first layers change far too much",
    "untrue": "training does not follow the loss that it should lower",
    # the output and the loss
    "output-not-finite": "there is no loss to lower",
    "outputs-missing": "some classes cannot be predicted",
    "output-same": "no sample can be told from another",
    "dead-outputs": "what they stand for is never predicted",
    "loss-not-finite": "there is no gradient",
    "loss-high": "the first steps only undo the scale of the scores",
    "floor": "the loss looks stuck and the gradients never fade, however well it learns",
    # a run
    "flat": "it has not learned",
    # what was given
    "one-sample": "nothing is known of how the output depends on the input",
}
"""By kind of finding: what it does to learning. Read after "so"."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    kind: which one, a word of `WHY`; layer: the module's full name, "" for the input, the output or
    the loss; severity: "error" (it will not learn), "warning" (it will learn badly) or "info" (good
    to know); problem: what is the case, a predicate of the layer or a whole sentence; measure: the
    figure behind it; advice: what to do.

    >>> print(Finding("silent", "2", "error", "never fires", 0.0, "use --calibrate 0.05").line())
    layer 2 never fires, so nothing behind it sees the input; use --calibrate 0.05
    """

    kind: str
    layer: str
    severity: Severity
    problem: str
    measure: float
    advice: str

    @property
    def why(self) -> str:
        """What it does to learning."""
        return WHY[self.kind]

    def line(self) -> str:
        """The finding in one line: the problem with its figure, why it matters, what to do."""
        start = f"layer {self.layer} {self.problem}" if self.layer else self.problem
        return f"{start}, so {self.why}" + (f"; {self.advice}" if self.advice else "")

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        return {**vars(self), "measure": finite(self.measure), "why": self.why, "line": self.line()}


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings; within each as they were found."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
