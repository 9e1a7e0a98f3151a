"""`spikegrad train --seeds N`: the same run with N seeds, a folder each, and what they spread."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikegrad.errors import UserError, message

if TYPE_CHECKING:
    from spikegrad.train.config import Config

__all__ = ["FILE", "begin", "go_on", "held", "train_all"]

FILE = "seeds.json"
"""In the folder of all seeds: the seeds, and the config that they share."""

_COLUMNS = {
    "test_accuracy": "test accuracy",
    "val_accuracy": "validation accuracy",
    "best_epoch": "chosen epoch",
    "seconds_per_epoch": "s per epoch",
}

Run = Callable[["Config", Path, bool], None]
"""Trains one config in a folder; True: goes on with what is there."""


def begin(config: Config, count: int, folder: Path) -> None:
    """Make the folder of runs with seeds from that of the config on.

    Raises:
        UserError: fewer than two seeds, or a folder with something in it.
    """
    from spikegrad.train.folder import RunFolder

    if count < 2:
        remedy = "the spread needs two runs; for one run omit --seeds"
        raise UserError(message("expected --seeds >= 2", str(count), remedy))
    RunFolder.check_new(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"{folder}: {error.strerror or error}"
        raise UserError(message("expected a writable run folder", reason)) from None
    first = config.run.seed
    _write(folder, list(range(first, first + count)), config)


def held(folder: Path) -> tuple[list[int], Config]:
    """The seeds and the config that a folder was begun with.

    Raises:
        UserError: its file is damaged.
    """
    from spikegrad.train.config import gather

    try:
        data = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return [int(seed) for seed in data["seeds"]], gather(data["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected, remedy = (
            f"expected a complete {folder / FILE}",
            "resume each of its runs separately",
        )
        raise UserError(message(expected, str(error)[:120], remedy)) from None


def go_on(folder: Path, config: Config) -> None:
    """Write down the config with which the runs of a folder go on."""
    _write(folder, held(folder)[0], config)


def train_all(folder: Path, run: Run, *, quiet: bool) -> None:
    """Train what is left of a folder's seeds, then show and write the table."""
    from spikegrad.train.config import flatten, gather
    from spikegrad.train.folder import RunFolder

    seeds, config = held(folder)
    results = []
    for number, seed in enumerate(seeds, 1):
        place = folder / f"seed-{seed}"
        if not quiet:
            _screen().say(f"seed {seed} ({number} of {len(seeds)})")
        own = gather({**flatten(config), "seed": seed, "out": ""})
        try:
            run(own, place, (place / "config.toml").is_file())
        except KeyboardInterrupt as stop:
            stop.folder = folder  # type: ignore[attr-defined]
            raise
        results.append(RunFolder(place).result())
    rows = _rows(seeds, results)
    _write_csv(folder, rows)
    if not quiet:
        _show(rows, folder)


def _rows(seeds: list[int], results: list[dict[str, Any]]) -> list[list[str]]:
    """The table: a heading, a row for each seed, then mean and standard deviation."""
    names = [n for n in _COLUMNS if all(result.get(n) is not None for result in results)]
    rows = [["seed", *(_COLUMNS[name] for name in names)]]
    for seed, result in zip(seeds, results, strict=True):
        rows.append([str(seed), *(_number(result[name]) for name in names)])
    for word, of in (("mean", statistics.mean), ("standard deviation", statistics.stdev)):
        measured = [of([float(result[name]) for result in results]) for name in names]
        rows.append([word, *(_number(value) for value in measured)])
    return rows


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def _show(rows: list[list[str]], folder: Path) -> None:
    from spikegrad.train.terminal import plain_table

    screen, (heading, *body) = _screen(), rows
    table = plain_table(*heading)
    for row in body:
        table.add_row(*row)
    screen.print(table)
    screen.say(f"{len(body) - 2} seeds; the table is in {folder / 'seeds.csv'}")


def _screen() -> Any:
    from spikegrad.train.terminal import Screen

    return Screen()


def _write(folder: Path, seeds: list[int], config: Config) -> None:
    from spikegrad.train.config import flatten
    from spikegrad.train.folder import write_atomic

    data = {"seeds": seeds, "config": flatten(config)}
    write_atomic(folder / FILE, (json.dumps(data, indent=1) + "\n").encode())


def _write_csv(folder: Path, rows: list[list[str]]) -> None:
    from spikegrad.train.folder import write_atomic

    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_atomic(folder / "seeds.csv", text.getvalue().encode())
