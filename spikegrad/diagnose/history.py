"""What the epochs of a run say, whatever its network looks like now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from spikegrad.diagnose.finding import Finding, ordered
from spikegrad.diagnose.health import Health

__all__ = ["check_history", "with_history"]

LONG = 3
"""Epochs from which on a loss has had time to fall."""
FALLS = 0.98
"""Last over first loss, above which it has not."""


def with_history(health: Health, epochs: Iterable[Mapping[str, Any]]) -> Health:
    """The same with the findings of a run's epochs, lines of `metrics.jsonl`."""
    return replace(health, findings=tuple(ordered([*health.findings, *check_history([*epochs])])))


def check_history(epochs: list[Mapping[str, Any]]) -> Iterator[Finding]:
    """A training loss that does not fall.

    >>> [f.problem for f in check_history([{"train_loss": 2.303}] * 4)]
    ['the training loss went from 2.303 to 2.303 in 4 epochs']
    """
    losses = [line["train_loss"] for line in epochs if isinstance(line.get("train_loss"), float)]
    if len(losses) < LONG or losses[0] <= 0 or min(losses[1:]) < FALLS * losses[0]:
        return
    problem = (
        f"the training loss went from {losses[0]:.4g} to {losses[-1]:.4g} in {len(losses)} epochs"
    )
    advice = "begin with the first error; if there is none, try another learning rate"
    yield Finding("flat", "", "warning", problem, losses[-1] / losses[0], advice)
