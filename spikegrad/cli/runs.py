"""`spikegrad runs [FOLDER]`: the runs in a folder, settings that differ, and results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from spikegrad.cli import completion

if TYPE_CHECKING:
    from spikegrad.compare.seen import Seen
    from spikegrad.train.terminal import Screen

__all__ = ["runs", "setting"]

_FIGURES = {
    "test_accuracy": "test\naccuracy",
    "val_accuracy": "val\naccuracy",
    "test_loss": "test\nloss",
    "rate": "rate",
    "seconds_per_epoch": "s per\nepoch",
}
"""The headings: rich would rather cut off a number than break between the words of one."""
_LEAST = ("seconds_per_epoch", "test_loss", "rate", "val_accuracy")
"""What is left out first where the terminal is narrow."""
SLACK = 6  # more than what the longest word of the settings takes
LONGEST = 32  # characters of a run's name that stays in one piece


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", default="runs", shell_complete=completion.folder)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: every run with all settings.")
def runs(folder: str, as_json: bool) -> None:
    """List the runs in FOLDER (runs by default): settings that differ, and results.

    A folder that is damaged, half-written or of another version is a line that says so. A
    comparison is one line. spikegrad compare RUN RUN ... sets runs side by side.
    """
    from spikegrad.compare.seen import find

    found = find(Path(folder))
    if as_json:
        click.echo(json.dumps([each.data() for each in found], indent=2))
        return
    show(found, Path(folder))


def show(found: Sequence[Seen], folder: Path) -> None:
    """A table for each data set of those that can be read, then a line for each of the others."""
    from spikegrad.train.terminal import Screen

    screen = Screen()
    if not found:
        screen.say(f"no runs in {folder}; spikegrad train makes one")
        return
    readable = [each for each in found if each.state in ("finished", "unfinished", "failed")]
    for dataset in dict.fromkeys(each.settings.get("dataset") for each in readable):
        here = [each for each in readable if each.settings.get("dataset") == dataset]
        screen.say(str(dataset), style="bold")
        figures = fitting(here, folder, screen)
        screen.print(table(here, folder, figures))
        left = [title for key, title in _FIGURES.items() if key not in figures and known(here, key)]
        if left:
            words = ", ".join(left).replace("\n", " ")
            screen.say(f"without {words}, for want of room: a wider terminal or --json")
        screen.print()
    for each in found:
        if each.problem:
            style = "red" if each.state in ("damaged", "failed") else ""
            screen.say(f"{name(each, folder)}: {each.state}: {each.problem}", style=style)


def known(found: Sequence[Seen], key: str) -> bool:
    """Whether a run has a figure."""
    return any(figure(each, key) != "-" for each in found)


def fitting(found: Sequence[Seen], folder: Path, screen: Screen) -> list[str]:
    """The figures that there is room for, with the names of the runs in one piece."""
    from rich.measure import Measurement

    figures = [key for key in _FIGURES if known(found, key)]
    wide = screen.options.update_width(1000)  # a measure is never above the width
    for key in _LEAST:
        made = table(found, folder, figures)
        if Measurement.get(screen, wide, made).minimum + SLACK <= screen.width:
            break
        figures = [each for each in figures if each != key]
    return figures


def table(found: Sequence[Seen], folder: Path, figures: Sequence[str]) -> Any:
    """A row for each run of one data set."""
    from spikegrad.compare.seen import differing
    from spikegrad.train.terminal import plain_table

    differ = [field for field in differing(found) if field not in ("seed", "dataset")]
    made = plain_table("run", "seed")
    made.columns[1].no_wrap = True
    made.columns[0].overflow = "fold"
    longest = max(len(name(each, folder)) for each in found)
    if longest <= LONGEST:
        made.columns[0].no_wrap, made.columns[0].min_width = True, longest
    if differ:
        made.add_column("settings that differ", overflow="fold")
    made.add_column("epochs", no_wrap=True)
    for key in figures:
        made.add_column(_FIGURES[key], justify="right", no_wrap=True)
    for each in found:
        whole = each.settings.get("epochs")
        epochs = f"{each.epochs}/{whole}" if each.epochs != whole else f"{whole}"
        words = [f"{f.replace('_', ' ')} {setting(each.settings.get(f))}" for f in differ]
        cells = [", ".join(words)] if differ else []
        seed = setting(each.settings.get("seed"))
        figured = (figure(each, key) for key in figures)
        made.add_row(name(each, folder), seed, *cells, epochs, *figured)
    return made


def name(each: Seen, folder: Path) -> str:
    """Its path below the folder that was asked for."""
    return str(each.path.relative_to(folder)) if each.path != folder else str(folder)


def setting(value: Any) -> str:
    """A setting in a table."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def figure(each: Seen, key: str) -> str:
    """A result in a table."""
    value = None if each.outcome is None else getattr(each.outcome, key)
    if value is None:
        return "-"
    return f"{value:.4f}" if "accuracy" in key or "loss" in key else f"{value:.3g}"
