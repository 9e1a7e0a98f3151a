"""The picture of `benchmarks.scaling`: time above, memory below, one column per axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from spikegrad.report.style import INK, MUTED, PALETTE, clean, new_figure, save

__all__ = ["scaling"]

NAMES = {
    "T": "steps T",
    "N": "neurons per layer N",
    "batch": "batch B",
    "activity": "activity (spikes per neuron and step)",
    "threads": "threads",
}
LINES = {"ours": ("spikegrad", PALETTE[0], "o"), "relu": ("ReLU, dense products", PALETTE[1], "s")}
NETWORKS = {"dense": "700-N-N-20", "recurrent": "700-N recurrent-20"}


def scaling(result: dict[str, Any], path: str | Path) -> Path:
    """Draw a result of `benchmarks.scaling` and return the path of the PNG."""
    axes = list(dict.fromkeys(point["axis"] for point in result["points"]))
    with clean():
        figure = new_figure(max(3.1 * len(axes), 5.5), 6.2)
        panels = figure.subplots(2, len(axes), squeeze=False, sharex="col")
        for column, axis in enumerate(axes):
            points = [point for point in result["points"] if point["axis"] == axis]
            for row, what in enumerate(("time", "memory")):
                panel(panels[row][column], points, what)
                ticks(panels[row][column], [point["value"] for point in points])
            panels[1][column].set_xlabel(NAMES[axis])
        for row, name in enumerate(("ms a step", "MB above weights and input")):
            panels[row][0].set_ylabel(name)
            shared_limits(panels[row])
        labelled = {}
        for axes_of in (panels[0][0], panels[1][0]):
            handles, names = axes_of.get_legend_handles_labels()
            labelled |= dict(zip(names, handles, strict=True))
        figure.legend(
            list(labelled.values()),
            list(labelled),
            loc="outside lower center",
            ncols=len(labelled) if len(axes) > 2 else 2,
        )
        figure.suptitle(title(result, len(axes) < 3), x=0.01, ha="left")
    return save(figure, path)


def panel(axes: Axes, points: Sequence[dict[str, Any]], what: str) -> None:
    """Both implementations and the floor, over one axis."""
    key = "median_ms" if what == "time" else "peak_mb"
    for name, (label, ink, marker) in LINES.items():
        found = [(p["value"], row) for p in points for row in p["rows"]
                 if row["implementation"] == name and row[key]]  # fmt: skip
        x, y = [value for value, _ in found], [row[key] for _, row in found]
        if what == "time":
            low, high = ([row[k] for _, row in found] for k in ("min_ms", "max_ms"))
            axes.fill_between(x, low, high, color=ink, alpha=0.15, linewidth=0)
        axes.plot(x, y, color=ink, marker=marker, markersize=4.5, label=label)
    floor = "bandwidth_ms" if what == "time" else "kept_mb"
    label = "floor: bytes moved at a copy's speed" if what == "time" else "every membrane kept"
    style = (0, (4, 2)) if what == "time" else (0, (1, 1.5))
    axes.plot(
        [p["value"] for p in points],
        [p[floor] for p in points],
        color=INK if what == "time" else MUTED,
        linestyle=style,
        linewidth=1.4,
        label=label,
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def ticks(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis that names the values measured and no others."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(values)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if len(values) > 1:
        axes.set_xlim(min(values) / 1.25, max(values) * 1.25)
    else:
        axes.set_xlim(values[0] / 2, values[0] * 2)


def shared_limits(row: Sequence[Axes]) -> None:
    """One scale for all panels of a row, so that they can be compared."""
    ends = [axes.get_ylim() for axes in row]
    for index, axes in enumerate(row):
        axes.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
        if index:
            axes.tick_params(labelleft=False)


def title(result: dict[str, Any], narrow: bool) -> str:
    """The network, what does not vary, and the machine."""
    base = ", ".join(f"{name} = {value:g}" for name, value in result["base"].items())
    threads = result["threads"]
    many = f"{threads} thread{'s' if threads > 1 else ''} where not varied"
    network, processor = NETWORKS[result["network"]], result["machine"]["processor"]
    between = "\n" if narrow else ", "
    return f"One training step of {network} on {processor}\n{base}{between}{many}"
