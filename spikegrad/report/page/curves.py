"""The learning curves of a run: losses, accuracies, own metrics, learning rate and slope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spikegrad.report.page.parts import Block, axis, figure, series, table
from spikegrad.report.recorded import Record

__all__ = ["curves", "losses", "marks_of"]

ROLES = {"train": ("training", 0), "val": ("validation", 1), "test": ("test", 2)}


def curves(record: Record) -> list[Block]:
    """The figures of the tab."""
    epochs = record.run.epochs
    found = [*losses(record)]
    for name in own_metrics(epochs):
        found.append(by_role(record, name, name.replace("_", " "), name))
    found.append(single(record, "learning_rate", "Learning rate", "learning rate"))
    if any(each.get("slope") is not None for each in epochs):
        found.append(single(record, "slope", "Slope of the surrogate", "slope k"))
    found.append(single(record, "gradient_norm", "Gradient norm", "L2 norm", kind="log"))
    found.append(single(record, "seconds", "Time of an epoch", "training (s)"))
    return [*found, epochs_table(epochs)]


def losses(record: Record) -> list[Block]:
    """Loss and, where there are classes, accuracy."""
    found = [by_role(record, "loss", "Loss", "loss")]
    if any(key.endswith("_accuracy") for each in record.run.epochs for key in each):
        found.append(by_role(record, "accuracy", "Accuracy", "share correct"))
    return found


def by_role(record: Record, what: str, title: str, label: str) -> Block:
    """One line for training, validation and test each, as far as they were measured."""
    epochs = record.run.epochs
    x = column(epochs, "epoch")
    lines = [
        series(name, x, column(epochs, f"{role}_{what}"), colour, mode=mode(x))
        for role, (name, colour) in ROLES.items()
    ]
    return figure(
        f"curve-{what}",
        title,
        lines,
        x=axis("epoch"),
        y=axis(label, zero=what == "accuracy"),
        marks=marks_of(record),
    )


def single(record: Record, key: str, title: str, label: str, *, kind: str = "linear") -> Block:
    """One figure of an epoch."""
    epochs = record.run.epochs
    x = column(epochs, "epoch")
    lines = [series(title, x, column(epochs, key), 0, mode=mode(x))]
    return figure(f"curve-{key}", title, lines, x=axis("epoch"), y=axis(label, kind=kind))


def own_metrics(epochs: Sequence[dict[str, Any]]) -> list[str]:
    """The names of a user's own metrics."""
    known = {"loss", "accuracy"}
    names = [
        key.partition("_")[2]
        for each in epochs
        for key in each
        if key.startswith(("val_", "test_")) and key.partition("_")[2] not in known
    ]
    return list(dict.fromkeys(names))


def marks_of(record: Record) -> list[dict[str, Any]]:
    """The chosen epoch, as a vertical line."""
    best = record.run.result.get("best_epoch")
    return [{"x": best, "label": "chosen epoch"}] if isinstance(best, int) else []


def column(rows: Sequence[dict[str, Any]], key: str) -> list[Any]:
    """The numbers of one key, None where it is missing."""
    values = [row.get(key) for row in rows]
    return [value if isinstance(value, int | float) else None for value in values]


def mode(x: Sequence[Any]) -> str:
    """Dots where they are few enough to be told apart."""
    return "lines+markers" if len(x) <= 40 else "lines"


def epochs_table(epochs: Sequence[dict[str, Any]]) -> Block:
    """All numbers of all epochs."""
    keys = [key for row in epochs for key, value in row.items() if not isinstance(value, dict)]
    columns = list(dict.fromkeys(keys))
    rows = [[row.get(key) for key in columns] for row in epochs]
    return table("epochs", "All epochs", columns, rows)
