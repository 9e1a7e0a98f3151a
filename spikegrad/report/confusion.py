"""Confusion matrix: what was taken for what, counts in the cells, shares of the row as colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from spikegrad.errors import UserError, message
from spikegrad.report.read import Array
from spikegrad.report.style import INK, MUTED, clean, new_figure, plain

__all__ = ["confusion"]

_MOST_NUMBERS = 40  # classes; beyond, counts would be too small to read


def confusion(counts: ArrayLike, class_names: Sequence[str]) -> Figure:
    """Draw a confusion matrix.

    Args:
        counts: `[C, C]` whole numbers; a row is a true class, a column a predicted one.
        class_names: `C` names.

    Returns:
        A figure. Colour is the share of its row, on a square-root scale so that few errors show.

    Raises:
        UserError: the matrix is not square, or the names are not as many.

    >>> figure = confusion([[8, 2], [0, 10]], ["cat", "dog"])
    >>> figure.get_suptitle()
    'Confusion   ·   accuracy 0.9000, 18 of 20 correct'
    """
    table = np.asarray(counts)
    if table.ndim != 2 or table.shape != (len(class_names), len(class_names)):
        expected = f"expected a matrix [C, C] for {len(class_names)} class names"
        raise UserError(message(expected, str(list(table.shape))))
    total, right = int(table.sum()), int(np.trace(table))
    rows = table.sum(axis=1, keepdims=True)
    share = np.divide(table, rows, out=np.zeros(table.shape), where=rows > 0)
    with clean():
        side = float(np.clip(2.6 + 0.36 * len(table), 4.6, 12.0))
        figure = new_figure(side + 1.2, side)
        axes = figure.add_subplot()
        image = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0.0, 1.0), aspect="equal")
        _labels(axes, [plain(name, 16) for name in class_names])
        if len(table) <= _MOST_NUMBERS:
            _numbers(axes, table, share)
        bar = figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02, ticks=_TICKS)
        bar.set_label("share of the true class (colours not linear: square root)")
        bar.outline.set_visible(False)
        accuracy = f"accuracy {right / total:.4f}" if total else "no sample"
        title = f"Confusion   ·   {accuracy}, {right:,} of {total:,} correct"
        figure.suptitle(title, x=0.01, ha="left")
    return figure


_TICKS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)


def _labels(axes: Axes, names: list[str]) -> None:
    """Class names on both axes, upright only when they are short."""
    step = 1 if len(names) <= 60 else len(names) // 30
    at = np.arange(0, len(names), step)
    long = max((len(names[i]) for i in at), default=0) > 3
    size = 8.5 if len(names) <= 30 else 7.0
    axes.set_xticks(
        at,
        [names[i] for i in at],
        rotation=45 if long else 0,
        fontsize=size,
        ha="right" if long else "center",
        rotation_mode="anchor",
    )
    axes.set_yticks(at, [names[i] for i in at], fontsize=size)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.0 if len(names) <= 40 else 0.3)
    axes.tick_params(which="minor", length=0)


def _numbers(axes: Axes, table: Array, share: Array) -> None:
    """The counts; zeros stay empty, so that the errors stand out."""
    digits = len(str(int(table.max(initial=0))))
    size = float(np.clip(10.5 - 1.0 * max(digits - 2, 0), 6.5, 9.5))
    for (row, column), count in np.ndenumerate(table):
        if count:
            ink = "white" if share[row, column] > 0.3 else INK
            axes.text(column, row, f"{count}", ha="center", va="center", color=ink, fontsize=size)
    for row in np.flatnonzero(table.sum(axis=1) == 0).tolist():
        axes.text(
            len(table) / 2 - 0.5,
            row,
            "no sample of this class",
            ha="center",
            va="center",
            color=MUTED,
            style="italic",
            fontsize=8,
        )
