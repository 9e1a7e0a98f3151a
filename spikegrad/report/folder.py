"""From a run folder to its `pictures/`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from spikegrad.report.confusion import confusion
from spikegrad.report.learning import learning
from spikegrad.report.membrane import membrane
from spikegrad.report.raster import raster
from spikegrad.report.read import Run, read_run
from spikegrad.report.style import save
from spikegrad.report.surrogate import surrogate

__all__ = ["write_pictures"]


def write_pictures(run: str | Path) -> list[Path]:
    """Draw every picture that a run folder permits, into its `pictures/`.

    A run without `samples.npz` (still training, or stopped) gets its learning curves only.

    Args:
        run: the run folder; see `docs/design.md`, "train", for its files.

    Returns:
        The paths of the PNG files, in reading order; each is written whole or not at all.

    Raises:
        UserError: `run` is no run folder, or a file in it is damaged. Nothing is written then.

    >>> write_pictures("no/such/run")
    Traceback (most recent call last):
        ...
    spikegrad.errors.UserError: expected a run folder, got no/such/run, which does not exist; ...
    """
    record = read_run(run)
    figures = {name: draw() for name, draw in _permitted(record).items()}
    folder = record.folder / "pictures"
    return [save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def _permitted(run: Run) -> dict[str, Callable[[], Figure]]:
    """File name to drawing, for what this run has data for."""
    pictures: dict[str, Callable[[], Figure]] = {}
    if run.epochs:
        pictures["learning"] = lambda: learning(run.epochs, run.result)
    samples = run.samples
    if samples is None:
        return pictures
    if samples.layers and samples.count:
        pictures["raster"] = lambda: raster(samples)
        pictures["membrane"] = lambda: membrane(samples)
    counts = samples.confusion
    if counts is not None:
        pictures["confusion"] = lambda: confusion(counts, samples.class_names)
    curve = samples.curve
    if curve is not None:
        pictures["surrogate"] = lambda: surrogate(curve)
    return pictures
