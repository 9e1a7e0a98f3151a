"""Membrane traces: a few neurons per layer, their threshold and their spikes, on one sample."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikegrad.report.given import membranes_of
from spikegrad.report.raster import checked, choose_sample, headline
from spikegrad.report.read import Array, Layer, Samples
from spikegrad.report.style import INK, MUTED, clean, colour, new_figure, plain, time_axis

__all__ = ["membrane"]

_COLUMNS = 3


def membrane(tapes: Any, sample: int | None = None, *, dt: float = 1.0) -> Figure:
    """Draw membrane potentials and their falls at a reset, a row per layer, up to three neurons.

    Args:
        tapes: a `Tape` of `record(network)`, or all of them by layer (membranes before a reset; the
            threshold is that of the first step); or the `Samples` of a run, which have both.
        sample: which of the B; by default the first that was classified correctly, where that is
            known, else the first.
        dt: the length of a step (ms), where it is not known.

    Returns:
        A figure; of the neurons that fire on this sample the most active, the least active and one
        in between, then silent ones. The panels of a row have one scale.
    Raises:
        TypeError, UserError: no tape, none of a spiking layer, or a sample that is not there.
    """
    samples = tapes if isinstance(tapes, Samples) else membranes_of(tapes, dt)
    index = choose_sample(samples) if sample is None else checked(samples, sample)
    layers = [(i, layer) for i, layer in enumerate(samples.layers) if layer.membrane.shape[2]]
    with clean():
        figure = new_figure(12.0, 1.2 + 1.9 * max(len(layers), 1))
        figure.suptitle(f"Membrane potential   ·   {headline(samples, index)}", x=0.01, ha="left")
        if not layers:
            figure.text(0.5, 0.4, "no membrane was recorded", ha="center", color=MUTED)
            return figure
        grid = figure.subplots(len(layers), _COLUMNS, sharex=True, sharey="row", squeeze=False)
        steps = samples.steps(index, layers[0][1].membrane.shape[0])
        for (i, full), row in zip(reversed(layers), grid, strict=True):
            layer = up_to(full, steps)
            _layer(row, layer, index, ink=colour(i), dt=samples.dt)
        for axes in grid[-1]:
            time_axis(axes, steps, samples.dt)
            axes.set_xlabel("time (ms)")
        _legend(figure, grid[0][0])
    return figure


def up_to(layer: Layer, steps: int) -> Layer:
    """The first steps of a recording."""
    after = None if layer.after is None else layer.after[:steps]
    spikes, membrane = layer.spikes[:steps], layer.membrane[:steps]
    return replace(layer, spikes=spikes, membrane=membrane, after=after)


def _layer(row: Array, layer: Layer, index: int, *, ink: str, dt: float) -> None:
    """One layer's chosen neurons, in one row of panels."""
    columns = _choose(layer, index)
    for axes, column in zip(row, columns, strict=False):
        _trace(axes, layer, index, column, ink=ink, dt=dt)
    for axes in row[len(columns) :]:
        axes.set_visible(False)
    names = dict.fromkeys((plain(layer.name, 24), "membrane"))  # a tape alone is called so itself
    row[0].set_ylabel("\n".join(names))


def _trace(axes: Axes, layer: Layer, index: int, column: int, *, ink: str, dt: float) -> None:
    """One neuron: its membrane `[T]`, the threshold as a dashed line, a triangle per spike."""
    u = layer.membrane[:, index, column].astype(float)
    neuron, threshold = int(layer.neurons[column]), float(layer.threshold[column])
    time = np.arange(len(u)) * dt
    few = len(u) <= 40
    x, y = (time, u) if layer.after is None else _with_falls(time, u, layer.after[:, index, column])
    axes.plot(
        x,
        y,
        color=ink,
        linewidth=1.4,
        label="membrane, with its reset after a spike",
        marker="o" if few else "",
        markersize=3.2,
    )
    axes.axhline(threshold, color=INK, linewidth=1.0, linestyle=(0, (4, 3)), label="threshold")
    fired = np.flatnonzero(layer.spikes[:, index, neuron])
    # Above the panel's data, where no trace can hide them.
    axes.plot(
        time[fired],
        np.full(len(fired), 0.955),
        "v",
        color=ink,
        markersize=5.0 if few else 3.5,
        markeredgewidth=0,
        transform=axes.get_xaxis_transform(),
        label="spike",
    )
    axes.margins(y=0.22)
    spikes = f"{len(fired)} spike{'s' if len(fired) != 1 else ''}"
    text = spikes if len(fired) else _shortfall(u, threshold)
    axes.set_title(f"neuron {neuron}", fontsize=9)
    axes.set_title(text, loc="right", fontsize=8.5, fontweight="normal", color=MUTED)


def _with_falls(time: Array, u: Array, after: Array) -> tuple[Array, Array]:
    """The course of a membrane: at each step up to u, and at a reset down to what is left of it."""
    falls = ~np.isclose(u, after)
    times = np.insert(time, np.flatnonzero(falls) + 1, time[falls])
    return times, np.insert(u, np.flatnonzero(falls) + 1, after[falls])


def _shortfall(u: Array, threshold: float) -> str:
    """How far a silent neuron stayed below its threshold."""
    top = float(np.nanmax(u)) if np.isfinite(u).any() else float("nan")
    if not threshold > 0 or not np.isfinite(top):
        return "silent"
    if top <= 0:
        return "silent, never above 0"
    return f"silent, reaches {top / threshold:.0%} of threshold"


def _choose(layer: Layer, index: int) -> list[int]:
    """Up to three columns of the recording: of neurons that fire, evenly from the most active to
    the least, then of the silent ones that come nearest to firing."""
    counts = layer.spikes[:, index][:, layer.neurons].astype(np.int64).sum(axis=0)
    peaks = np.nan_to_num(layer.membrane[:, index].astype(float)).max(axis=0)
    order = np.lexsort((-peaks, -counts))
    firing = int((counts > 0).sum())
    some = np.linspace(0, max(firing - 1, 0), min(firing, _COLUMNS)).round().astype(int)
    return [int(k) for k in (*order[some], *order[firing:])][:_COLUMNS]


def _legend(figure: Figure, axes: Axes) -> None:
    """One legend for the whole figure, above the panels on the right."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
