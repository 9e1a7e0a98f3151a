"""Learning curves: loss, accuracy and firing rates over the epochs of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikegrad.errors import UserError, message
from spikegrad.report.read import layer_title
from spikegrad.report.style import (
    INK,
    ROLE,
    clean,
    colour,
    integer_axis,
    legend_below,
    new_figure,
    plain,
)

__all__ = ["learning"]

_NAMES = {"train": "training", "val": "validation", "test": "test"}


def learning(epochs: Sequence[dict[str, Any]], result: dict[str, Any] | None = None) -> Figure:
    """Draw loss, accuracy and firing rates per epoch; a dashed line marks the chosen epoch.

    Args:
        epochs: the lines of `metrics.jsonl`, at least one.
        result: `result.json`, for the title, the chosen epoch (`best_epoch`) and what its `layers`
            are called.

    Returns:
        A figure of three panels; of two where the run has no classes and so no accuracy.

    Raises:
        UserError: there is no epoch.

    >>> figure = learning([{"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.9}])
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['Loss', 'Accuracy', 'Firing rate']
    """
    if not epochs:
        raise UserError(message("expected at least one epoch", "none", "train for one first"))
    result = result or {}
    with clean():
        judged = any(key.endswith("_accuracy") for entry in epochs for key in entry)
        figure = new_figure(12.0 if judged else 8.5, 4.2)
        panels = list(figure.subplots(1, 3 if judged else 2))
        loss, rates = panels[0], panels[-1]
        _by_role(loss, epochs, "loss", title="Loss")
        if judged:
            _by_role(panels[1], epochs, "accuracy", title="Accuracy")
        _rates(rates, epochs, result.get("layers") or {})
        for axes in panels:
            _epoch_axis(axes, epochs, result.get("best_epoch"))
            legend_below(axes, columns=2 if axes is rates else 4)
        figure.suptitle(_title(epochs, result), x=0.01, ha="left")
    return figure


def _by_role(axes: Axes, epochs: Sequence[dict[str, Any]], what: str, *, title: str) -> None:
    """One line for training, validation and test each, as far as they were measured."""
    x = _column(epochs, "epoch")
    for role, ink in ROLE.items():
        y = _column(epochs, f"{role}_{what}")
        if np.isfinite(y).any():
            axes.plot(x, y, color=ink, label=_NAMES[role], **_marker(len(x)))
    axes.set_title(title)
    axes.set_ylabel("loss" if what == "loss" else "share correct")
    axes.margins(y=0.12)


def _rates(axes: Axes, epochs: Sequence[dict[str, Any]], titles: Mapping[str, str]) -> None:
    """One line per spiking layer, in spikes per neuron and step."""
    x = _column(epochs, "epoch")
    table = [entry.get("firing_rates") or {} for entry in epochs]
    names = list(dict.fromkeys(name for row in table for name in row))
    for i, name in enumerate(names):
        y = _column(table, name)
        silent = np.isfinite(y).any() and not np.nanmax(y) > 0
        label = plain(titles.get(name, layer_title(name)), 24) + (" (silent)" if silent else "")
        dash = ("-", "--", ":")[i // 6 % 3]
        axes.plot(x, y, color=colour(i), label=label, linestyle=dash, **_marker(len(x)))
    axes.set_title("Firing rate")
    axes.set_ylabel("spikes per neuron and step")
    highest = max((float(np.nanmax(line.get_ydata())) for line in axes.lines
                   if np.isfinite(line.get_ydata()).any()), default=0.0)  # fmt: skip
    # From 0, with room above: a margin of the lines' own range is none where they are level.
    top = max(1.12 * highest, 0.01)
    axes.set_ylim(-0.02 * top, top)


def _epoch_axis(axes: Axes, epochs: Sequence[dict[str, Any]], best: Any) -> None:
    """Whole epochs along x, and the chosen one marked."""
    x = _column(epochs, "epoch")
    room = max(0.5, 0.02 * float(x.max() - x.min()))
    axes.set_xlim(x.min() - room, x.max() + room)
    axes.set_xlabel("epoch")
    integer_axis(axes)
    if isinstance(best, int) and x.min() <= best <= x.max():
        dashes = (0, (4, 3))
        axes.axvline(
            best, color=INK, linewidth=1.1, linestyle=dashes, zorder=1.5, label="chosen epoch"
        )


def _title(epochs: Sequence[dict[str, Any]], result: dict[str, Any]) -> str:
    """What was trained, and the honest number if there is one."""
    parts = [plain(result.get("dataset") or "Training")]
    if isinstance(result.get("test_accuracy"), int | float):
        parts.append(f"test accuracy {result['test_accuracy']:.4f}")
    elif isinstance(result.get("test_loss"), int | float):
        parts.append(f"test loss {result['test_loss']:.4g}")
    if isinstance(result.get("best_epoch"), int):
        by = " chosen on validation" if epochs[-1].get("val_loss") is not None else ""
        parts.append(f"epoch {result['best_epoch']} of {epochs[-1]['epoch']}{by}")
    return "   ·   ".join(parts)


def _column(rows: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    """The values of one key, NaN where it is missing, null or infinite (it cannot be drawn)."""
    values = [row.get(key) for row in rows]
    array = np.array([float("nan") if v is None else float(v) for v in values])
    return np.where(np.isfinite(array), array, np.nan)


def _marker(points: int) -> dict[str, Any]:
    """Dots where the points are few enough to be told apart."""
    return {"marker": "o", "markersize": 4.0} if points <= 30 else {}
