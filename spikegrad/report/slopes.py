"""Comparisons of matched surrogates: what was learned, and the gradient, against the slope."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spikegrad.errors import UserError, message
from spikegrad.report.style import INK, clean, colour, new_figure, plain

__all__ = ["slopes"]

_HEIGHT = "surrogate_normalisation"
_DASHES: dict[str | None, Any] = {"peak": "-", "area": (0, (4, 2)), None: "-"}
_HEIGHTS = {"peak": "peak 1", "area": "area 1 (the peak grows with the slope)"}
_METRICS = {"test_accuracy": "test accuracy", "val_accuracy": "validation accuracy",
            "test_loss": "test loss", "val_loss": "validation loss"}  # fmt: skip

Curve = tuple[list[float], list[float], list[float]]


def slopes(comparisons: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the figure of merit, and below it the gradient at the start, against the slope.

    Args:
        comparisons: what `results.json` of each holds, a column each. Their variants have a
            `surrogate` and a `slope`, and may differ in `surrogate_normalisation`. The n-th slope
            of every surrogate is drawn at the n-th slope of the first one, to which they are
            matched.

    Returns:
        A figure of two rows: means, bars of one standard deviation over the seeds.

    Raises:
        UserError: no comparison, or variants without surrogate and slope.
    """
    if not comparisons:
        raise UserError(message("expected at least one comparison", "none"))
    tables = [_series(each) for each in comparisons]
    with clean():
        figure = new_figure(4.6 * len(tables) + 0.6, 6.4)
        panels = figure.subplots(2, len(tables), squeeze=False, sharex="col")
        for column, (data, table) in enumerate(zip(comparisons, tables, strict=True)):
            top, below = panels[0][column], panels[1][column]
            top.set_title(plain(data.get("dataset", "")))
            metric = str(data["metric"])
            _draw(top, table, metric)
            _draw(below, table, "gradient")
            below.set_yscale("log")
            below.set_xlabel(f"slope of {plain(next(iter(table))[0])} (the others: same width)")
            if column == 0:
                top.set_ylabel(_METRICS.get(metric, metric))
                below.set_ylabel("gradient before the first step")
        _legend(figure, tables)
    return figure


def _series(data: Mapping[str, Any]) -> dict[tuple[str, str | None], list[Mapping[str, Any]]]:
    """The variants of each surrogate and height, by rising slope; the first surrogate first."""
    found: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for each in sorted(data["variants"], key=lambda v: v["variant"]):
        settings = each["settings"]
        if not {"surrogate", "slope"} <= settings.keys():
            got = f"a variant {each['name']}"
            raise UserError(message("expected variants with surrogate and slope", got))
        found.setdefault((settings["surrogate"], settings.get(_HEIGHT)), []).append(each)
    return {key: sorted(v, key=lambda e: e["settings"]["slope"]) for key, v in found.items()}


def _draw(axes: Axes, table: dict[tuple[str, str | None], Any], figure: str) -> None:
    names = list(dict.fromkeys(name for name, _ in table))
    first = [each["settings"]["slope"] for each in next(iter(table.values()))]
    for (name, height), variants in table.items():
        x, y, bars = _curve(first, variants, figure, names.index(name), len(names))
        ink, dash = colour(names.index(name)), _DASHES.get(height, "-")
        axes.errorbar(
            x, y, yerr=None if figure == "gradient" else bars, color=ink, linestyle=dash,
            marker="o" if height != "area" else "s", markersize=4.5, capsize=2.5, elinewidth=1.0,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(first, [f"{slope:g}" for slope in first])
    axes.minorticks_off()


def _curve(
    first: list[float], variants: Sequence[Mapping[str, Any]], figure: str, place: int, of: int
) -> Curve:
    """Points and their spread; beside one another, so that no bar hides another one."""
    x, y, bars = [], [], []
    for slope, variant in zip(first, variants, strict=False):
        found = variant["figures"].get(figure)
        if found is None or not math.isfinite(found["mean"]):
            continue
        x.append(slope * 1.06 ** (place - (of - 1) / 2))
        y.append(found["mean"])
        bars.append(found["sd"] or 0.0)
    return x, y, bars


def _legend(figure: Figure, tables: Sequence[dict[tuple[str, str | None], Any]]) -> None:
    """Shapes by colour, heights by line."""
    names = list(dict.fromkeys(name for table in tables for name, _ in table))
    heights = [h for h in dict.fromkeys(h for table in tables for _, h in table) if h is not None]
    handles = [Line2D([], [], color=colour(i), label=plain(n)) for i, n in enumerate(names)]
    for height in heights:
        marker = "o" if height != "area" else "s"
        label = _HEIGHTS.get(height, height)
        handles.append(Line2D([], [], color=INK, linestyle=_DASHES.get(height, "-"),
                              marker=marker, markersize=4.5, label=label))  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
