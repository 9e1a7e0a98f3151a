"""What a run came to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor

from spikegrad.train.objective import AnyObjective
from spikegrad.train.running import Encode

__all__ = ["Result"]


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run came to; the network holds the weights of the chosen epoch.

    history: the lines of `metrics.jsonl`; summary: what `result.json` says; confusion: counts
    `[C, C]` on the test part, or on validation without one; None where the targets are no classes;
    folder: the run folder, if there is one; encoder, objective: with which it was trained, T
    included (`predict` and `evaluate` take them as they are); new: False when the run was finished
    already and nothing was done.
    """

    history: list[dict[str, Any]]
    summary: dict[str, Any]
    confusion: Tensor | None
    folder: Path | None
    encoder: Encode
    objective: AnyObjective
    new: bool = True

    def __repr__(self) -> str:
        names = ("test_accuracy", "val_accuracy")
        if "test_accuracy" not in self.summary:  # no classes
            names = ("test_loss", "val_loss")
        measured = {name: self.summary.get(name) for name in names}
        shown = ", ".join(f"{k}={v:.4f}" for k, v in measured.items() if v is not None)
        where = f", folder={str(self.folder)!r}" if self.folder else ""
        return f"Result({len(self.history)} epochs, {shown or 'not measured'}{where})"

    @property
    def test_accuracy(self) -> float | None:
        """Fraction of the test part that the chosen epoch classifies rightly; None without one, or
        without classes.
        """
        return self.summary.get("test_accuracy")

    @property
    def val_accuracy(self) -> float | None:
        """Fraction of the validation part, at the chosen epoch."""
        return self.summary.get("val_accuracy")

    @property
    def test_loss(self) -> float | None:
        """Mean loss of the test part, at the chosen epoch."""
        return self.summary.get("test_loss")

    @property
    def val_loss(self) -> float | None:
        """Mean loss of the validation part, at the chosen epoch."""
        return self.summary.get("val_loss")

    @property
    def best_epoch(self) -> int:
        """The chosen epoch, from 1."""
        return self.summary["best_epoch"]

    @property
    def firing_rates(self) -> dict[str, float]:
        """Spikes per neuron and step by layer, at the chosen epoch."""
        return self.summary["firing_rates"]
