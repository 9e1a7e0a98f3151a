"""Spike raster: when every neuron of every layer fired on one sample, from input to decision."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spikegrad.errors import UserError, message
from spikegrad.report.given import spikes_of
from spikegrad.report.read import Array, Samples
from spikegrad.report.style import (
    INK,
    MUTED,
    PALETTE,
    clean,
    colour,
    integer_axis,
    new_figure,
    plain,
    time_axis,
)

__all__ = ["checked", "choose_sample", "headline", "raster"]

_ROWS = 100  # as many rows as can be told apart at 100 %
_IMAGE = 1.5  # inches
_ALL = 150  # up to here every neuron is shown all the same


def raster(spikes: Any, sample: int | None = None, *, dt: float = 1.0) -> Figure:
    """Draw one sample's spikes, a panel per layer, input at the bottom, readout on top.

    Args:
        spikes: a tensor or an array `[T, B, *features]`, or of one sample `[T, N]`; a `Tape` of
            `record(network)`, or all of them by layer; or the `Samples` of a run.
        sample: which of the B; by default the first that was classified correctly, where that is
            known, else the first.
        dt: the length of a step (ms), where it is not known.

    Returns:
        A figure; large layers are thinned to evenly spaced neurons, rates are of all of them. An
        image that is the input of every step is drawn as one.
    Raises:
        TypeError, UserError: something else, another shape, or a sample that is not there.

    >>> figure = raster(np.eye(5), dt=2.0)
    >>> figure.axes[0].get_title(loc="right")[:9]
    '5 neurons'
    """
    samples = spikes if isinstance(spikes, Samples) else spikes_of(spikes, dt)
    index = choose_sample(samples) if sample is None else checked(samples, sample)
    panels = [
        (layer.name, of_sample(samples, layer.spikes, index), colour(i), "spiking")
        for i, layer in enumerate(samples.layers)
    ]
    if samples.input is not None and samples.image is None:
        panels.insert(0, ("input", of_sample(samples, samples.input, index), INK, "input"))
    panels.reverse()
    heights = [_height(spikes.shape[1]) for _, spikes, _, _ in panels]
    # A readout that sums over time has no course in time to show.
    output = None if samples.output is None else of_sample(samples, samples.output, index)
    decides = output is not None and len(output) == len(panels[0][1])
    if decides:
        heights.insert(0, 1.3)
    with clean():
        rows = [*heights, *([] if samples.image is None else [_IMAGE])]
        figure = new_figure(9.5, 1.1 + sum(rows) + 0.35 * len(rows))
        grid = figure.add_gridspec(len(rows), 1, height_ratios=rows)
        axes = [figure.add_subplot(grid[0])]
        axes += [figure.add_subplot(grid[k], sharex=axes[0]) for k in range(1, len(heights))]
        if decides:
            _decision(axes[0], samples, index)
        for panel, (name, spikes, ink, kind) in zip(axes[-len(panels) :], panels, strict=True):
            _spikes(panel, spikes, name=name, ink=ink, kind=kind, dt=samples.dt)
        for panel in axes[:-1]:
            panel.tick_params(axis="x", length=0, labelbottom=False)
        time_axis(axes[-1], panels[0][1].shape[0], samples.dt)
        if samples.image is not None:
            _image(figure.add_subplot(grid[-1]), samples.image[index])
        figure.suptitle(f"Spikes   ·   {headline(samples, index)}", x=0.01, ha="left")
    return figure


def of_sample(samples: Samples, values: Array, index: int) -> Array:
    """What `[T, n, N]` holds of one sample, up to its end."""
    return values[: samples.steps(index, len(values)), index]


def choose_sample(samples: Samples) -> int:
    """The first sample that was classified correctly, or the first of all."""
    if samples.labels is None or samples.predictions is None:
        return 0
    right = np.flatnonzero(samples.labels == samples.predictions)
    return int(right[0]) if right.size else 0


def checked(samples: Samples, sample: int) -> int:
    """A sample that is there.

    Raises:
        UserError: it is not.
    """
    if not 0 <= sample < samples.count:
        raise UserError(message(f"expected a sample from 0 to {samples.count - 1}", str(sample)))
    return sample


def headline(samples: Samples, index: int) -> str:
    """Sample, true class and prediction in words."""
    if samples.labels is None or samples.predictions is None:
        return f"sample {index}"
    true, guess = int(samples.labels[index]), int(samples.predictions[index])
    verdict = "correct" if true == guess else "wrong"
    return (
        f"sample {index}: true class {plain(samples.class_name(true), 16)}, "
        f"predicted {plain(samples.class_name(guess), 16)} ({verdict})"
    )


def _height(neurons: int) -> float:
    """The height of a panel in inches: more for more neurons, within reason."""
    return float(np.clip(0.35 + 0.13 * np.sqrt(neurons), 0.7, 2.2))


def _spikes(axes: Axes, spikes: Array, *, name: str, ink: str, kind: str, dt: float) -> None:
    """One layer `spikes [T, N]`, a tick per spike; an input that is no spike train in greys."""
    steps, neurons = spikes.shape
    rows = neurons if neurons <= _ALL else _ROWS
    shown = np.unique(np.linspace(0, neurons - 1, rows).round().astype(int))
    pitch = neurons / max(len(shown), 1)
    part = f", {len(shown)} shown" if len(shown) < neurons else ""
    noun = "neuron" if kind == "spiking" else "channel"
    count = f"{neurons} {noun}{'s' if neurons != 1 else ''}{part}"
    if kind == "input" and not np.isin(spikes, (0, 1)).all():
        extent = (-0.5 * dt, (steps - 0.5) * dt, -0.5, neurons - 0.5)
        axes.imshow(
            spikes.T,
            aspect="auto",
            origin="lower",
            cmap="Greys",
            extent=extent,
            interpolation="nearest",
        )
        text = f"{neurons} values, not spikes (grey: {spikes.min():.2g} to {spikes.max():.2g})"
    else:
        time, row = np.nonzero(spikes[:, shown])
        centre = shown[row]
        # A tick is as wide as most of a step, but never so wide or thin that it misleads.
        width = float(np.clip(0.55 * 8.4 * 72 / steps, 0.7, 5.0))
        low, high = centre - 0.42 * pitch, centre + 0.42 * pitch
        # Not snapped to pixels: rows of the same height look the same.
        axes.vlines(time * dt, low, high, color=ink, linewidth=width, snap=False)
        rate = float(spikes.mean()) if spikes.size else 0.0
        text = f"{count}   ·   {rate:.3f} spikes per {noun} and step"
        if rate == 0:
            _note(axes, "no spike in this sample")
    axes.set_title(plain(name, 30), fontsize=9.5)
    axes.set_title(text, loc="right", fontsize=8.5, fontweight="normal", color=MUTED)
    axes.set_ylim(-0.5 - 0.1 * pitch, neurons - 0.5 + 0.1 * pitch)
    axes.set_ylabel(noun)
    axes.grid(visible=False, axis="y" if axes.collections else "both")
    integer_axis(axes, "y", ticks=3)


def _image(axes: Axes, image: Array) -> None:
    """The image `[H, W]` that enters at every step."""
    axes.imshow(image, cmap="Greys", interpolation="nearest")
    axes.set_anchor("W")
    axes.set_title("input, the same image at every step", fontsize=9.5)
    height, width = image.shape
    text = f"{height} x {width} values (grey: {image.min():.2g} to {image.max():.2g})"
    axes.set_xlabel(text, loc="left", fontsize=8.5, color=MUTED)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)


def _decision(axes: Axes, samples: Samples, index: int) -> None:
    """The running mean of the output `[T, C]`: how the decision forms in time."""
    assert samples.output is not None
    output = of_sample(samples, samples.output, index).astype(float)
    mean = np.cumsum(output, axis=0) / np.arange(1, len(output) + 1)[:, None]
    true, guess = -1, -1  # of a run without classes no output is the right one
    if samples.labels is not None and samples.predictions is not None:
        true, guess = int(samples.labels[index]), int(samples.predictions[index])
    time = np.arange(len(output)) * samples.dt
    marker = "o" if len(output) <= 30 else ""
    for c in range(mean.shape[1]):
        if c not in (true, guess):
            axes.plot(time, mean[:, c], color=MUTED, alpha=0.45, linewidth=0.9)
    marks = {guess: (PALETTE[1], "predicted")} if guess != true else {}
    if true >= 0:
        marks[true] = (PALETTE[2], "true")
    for c, (ink, role) in marks.items():
        label = f"{role}: {plain(samples.class_name(c), 20)}"
        axes.plot(time, mean[:, c], color=ink, label=label, marker=marker, markersize=3.5)
    axes.set_title("readout, mean so far", fontsize=9.5)
    if marks:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderpad=0.1, borderaxespad=0.2
        )
    axes.set_ylabel("output")
    axes.margins(y=0.15)
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _note(axes: Axes, text: str) -> None:
    """A remark in the middle of an empty panel."""
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=MUTED,
        style="italic",
    )
