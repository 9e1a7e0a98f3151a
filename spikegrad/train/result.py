"""What a run came to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from spikegrad.train.objective import AnyObjective
from spikegrad.train.running import Encode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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

    def plot(self) -> Figure:
        """The learning curves: loss, accuracy where there are classes, and firing rates per epoch.

        A notebook shows the figure; `spikegrad.report.save(figure, "curves.png")` writes it.
        """
        from spikegrad.report import learning

        return learning(self.history, self.summary)

    def _repr_html_(self) -> str:
        from spikegrad.diagnose.printed import html_table

        titles = self.summary.get("layers", {})
        rates = [(f"rate, {titles.get(n, n)}", r) for n, r in self.firing_rates.items()]
        shown = [
            (name.replace("_", " "), self.summary.get(name))
            for name in ("test_accuracy", "val_accuracy", "test_loss", "val_loss", "best_epoch")
        ]
        rows = [(name, figure(value)) for name, value in [*shown, *rates] if value is not None]
        if self.folder is not None:
            rows.append(("folder", str(self.folder)))
        return html_table(("result", f"of {len(self.history)} epochs"), rows)

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


def figure(value: float) -> str:
    """A number of a result in words."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
