"""`spikegrad compare RUN RUN ...`: runs that are there, side by side; a comparison shown again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from spikegrad.cli.runs import setting
from spikegrad.errors import RunError, UserError, message

if TYPE_CHECKING:
    from spikegrad.compare.seen import Seen

__all__ = ["beside"]

_FIGURES = {
    "test_accuracy": "test accuracy",
    "val_accuracy": "validation accuracy",
    "test_loss": "test loss",
    "val_loss": "validation loss",
    "rate": "spikes per neuron and step",
    "best_epoch": "chosen epoch",
    "epochs": "epochs done",
    "seconds_per_epoch": "s per epoch",
    "train_seconds": "training (s)",
}


def beside(targets: Sequence[str], *, as_json: bool) -> None:
    """Show a comparison again, or set runs side by side.

    Raises:
        UserError: one run alone. RunError: some of the folders cannot be read; the others are
        shown.
    """
    from spikegrad.compare.folder import ComparisonFolder
    from spikegrad.compare.seen import together

    if len(targets) == 1 and ComparisonFolder.is_one(Path(targets[0])):
        again(Path(targets[0]), as_json=as_json)
        return
    runs = together(targets)
    if len(runs) < 2 and all(run.state != "damaged" for run in runs):
        remedy = f"give another run, or see it with: spikegrad runs {targets[0]}"
        raise UserError(message("expected two runs or more", targets[0], remedy))
    damaged = [run for run in runs if run.state == "damaged"]
    whole = [run for run in runs if run.state != "damaged"]
    if as_json:
        click.echo(json.dumps(data(runs), indent=2))
    else:
        show(whole, damaged)
    if damaged:
        count = f"{len(damaged)} of {len(runs)} folders cannot be read"
        raise RunError(f"{count}: {damaged[0].path}: {damaged[0].problem}")


def again(folder: Path, *, as_json: bool) -> None:
    """The tables of a comparison, of what is finished."""
    from spikegrad.compare import load
    from spikegrad.compare.live import show as show_comparison
    from spikegrad.train.terminal import Screen

    found = load(folder)
    if as_json:
        click.echo(json.dumps(found.data(), indent=2))
        return
    screen = Screen()
    show_comparison(screen, found)
    if not found.complete:
        screen.say(f"not complete; go on with: spikegrad compare --resume {folder}")


def data(runs: Sequence[Seen]) -> dict[str, Any]:
    """All of it as values that JSON can hold."""
    from spikegrad.compare.grouped import grouped
    from spikegrad.compare.seen import differing

    found = grouped(runs)
    return {
        "runs": [run.data() for run in runs],
        "differing": differing(runs),
        "comparison": None if found is None else found.data(),
    }


def show(runs: Sequence[Seen], damaged: Sequence[Seen]) -> None:
    """Settings that differ and results, a column for each run; a ranking where seeds allow one."""
    from spikegrad.compare.grouped import grouped
    from spikegrad.compare.live import as_table
    from spikegrad.compare.table import notes, ranking
    from spikegrad.train.terminal import Screen

    screen = Screen()
    if runs:
        screen.print(table(runs))
    for run in damaged:
        screen.say(f"{run.path}: damaged: {run.problem}", style="red")
    for run in runs:
        if run.problem:
            screen.say(f"{run.path}: {run.state}: {run.problem}")
    found = grouped(runs)
    if found is not None:
        screen.print()
        screen.print(as_table(ranking(found)))
        screen.print()
        screen.print(notes(found)[0], style="dim")


def table(runs: Sequence[Seen]) -> Any:
    """A row for each setting that differs and each figure, a column for each run."""
    from spikegrad.compare.seen import differing
    from spikegrad.train.terminal import plain_table

    made = plain_table("", *(str(run.path) for run in runs))
    for column in made.columns:
        column.overflow = "fold"
    for field in differing(runs):
        made.add_row(field.replace("_", " "), *(setting(run.settings.get(field)) for run in runs))
    for key, title in _FIGURES.items():
        values = [None if run.outcome is None else getattr(run.outcome, key) for run in runs]
        if any(value is not None for value in values):
            made.add_row(title, *("-" if v is None else number(v) for v in values))
    return made


def number(value: float) -> str:
    """A figure in a table."""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
