"""Runs that are there: what each folder holds, and in one line what is wrong with it.

Nothing here raises for a folder that is damaged: it is a line in a list, and the others are read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spikegrad.compare.folder import PLAN
from spikegrad.compare.outcome import Outcome, held
from spikegrad.errors import UserError, message
from spikegrad.train.app import stored_config
from spikegrad.train.config import OPTIONS, Config, flatten
from spikegrad.train.folder import RunFolder
from spikegrad.train.own import is_own, reads
from spikegrad.train.resuming import MAY_CHANGE
from spikegrad.version import __version__

__all__ = ["Seen", "differing", "find", "look", "together"]

_FILES = ("result.json", "metrics.jsonl", "checkpoint.pt", "weights.safetensors")
_UNTOLD = ("out", *MAY_CHANGE)
"""Settings that no list shows as a difference: no result depends on them."""


@dataclass(frozen=True)
class Seen:
    """A folder that holds a run, or what is left of one.

    state: "finished", "unfinished", "failed", "damaged", or "comparison"; problem: in one line what
    is wrong, or what to know; settings: those that the run reads, by field; outcome: its figures;
    epochs: done; version: of spikegrad, that the result was made with.
    """

    path: Path
    state: str
    problem: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None
    epochs: int | None = None
    version: str | None = None

    def data(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return {
            "path": str(self.path),
            "state": self.state,
            "problem": self.problem,
            "epochs": self.epochs,
            "version": self.version,
            "settings": {k: list(v) if isinstance(v, tuple) else v
                         for k, v in self.settings.items()},
            "figures": None if self.outcome is None else asdict(self.outcome),
        }  # fmt: skip


def look(path: Path) -> Seen:
    """The run in a folder, whatever its state."""
    if path.name.startswith("."):
        return Seen(path, "damaged", "left by a run that was killed before it began; remove it")
    try:
        config = stored_config(path)
    except UserError as error:
        return Seen(path, "damaged", _of_another(path, str(error)))
    except Exception as error:  # whatever bytes are there: the other folders are read
        return Seen(path, "damaged", f"{type(error).__name__}: {error}")
    settings = _settings(config)
    run, note, version = RunFolder(path), "", None
    try:
        outcome = held(path)
        epochs = len(run.metrics()) if run.metrics_file.is_file() else 0
        if run.result_file.is_file():
            version = run.result().get("versions", {}).get("spikegrad")
    except UserError as error:
        return Seen(path, "damaged", str(error), settings)
    except Exception as error:
        return Seen(path, "damaged", f"{type(error).__name__}: {error}", settings)
    if version is not None and version != __version__:
        note = f"made by spikegrad {version}, this is {__version__}"
    if outcome is None and run.failure:
        return Seen(path, "failed", run.failure, settings, None, epochs)
    if outcome is None:
        return Seen(path, "unfinished", _how_far(run, config, epochs), settings, None, epochs)
    return Seen(path, "finished", note, settings, outcome, epochs, version)


def find(folder: Path) -> list[Seen]:
    """Every run below a folder, or in it; a comparison below it is one line, its own runs are all.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        what = f"the file {folder}" if folder.exists() else f"{folder}: nothing there"
        raise UserError(message("expected a folder with runs", what, "give its path"))
    return list(_walk(folder))


def together(targets: Sequence[str]) -> list[Seen]:
    """The runs that are named: each a run folder, or a folder of seeds with one run each."""
    found = []
    for target in targets:
        path = Path(target)
        if (path / "seeds.json").is_file() and not (path / "config.toml").is_file():
            found += [look(p) for p in sorted(path.iterdir(), key=_natural) if p.is_dir()]
        else:
            found.append(look(path))
    return found


def differing(runs: Sequence[Seen]) -> list[str]:
    """The settings in which some of the runs differ, in the order of the config."""
    known = [run.settings for run in runs if run.settings]
    return [
        name
        for name in OPTIONS
        if name not in _UNTOLD and len({repr(each.get(name)) for each in known}) > 1
    ]


def _walk(folder: Path) -> Iterator[Seen]:
    for place, folders, files in os.walk(folder):
        path = Path(place)
        if "config.toml" in files or any(name in files for name in _FILES):
            folders.clear()
            yield look(path)
        elif PLAN in files and path != folder:
            folders.clear()
            yield _comparison(path)
        folders.sort(key=lambda name: _natural(Path(name)))


def _comparison(path: Path) -> Seen:
    from spikegrad.compare.run import load

    try:
        found = load(path)
    except UserError as error:
        return Seen(path, "damaged", str(error))
    plan, done = found.plan, sum(not o.failed for o in found.outcomes.values())
    words = f"{len(plan.variants)} variants, {len(plan.seeds)} seeds: {done} runs finished"
    failed = len(found.failures())
    words += f", {failed} failed" if failed else ""
    return Seen(path, "comparison", f"{words}; spikegrad compare {path}/ shows it",
                {"dataset": plan.dataset})  # fmt: skip


def _settings(config: Config) -> dict[str, Any]:
    """All settings; of a run of `fit` those that it reads."""
    values = flatten(config)
    if not is_own(config):
        return values
    return {name: value for name, value in values.items() if reads(name) or name == "dataset"}


def _how_far(run: RunFolder, config: Config, epochs: int) -> str:
    again = f"spikegrad train --resume {run.path} goes on"
    if not run.checkpoint.is_file():
        return f"no epoch done, there is no checkpoint; {again}"
    if run.result_file.is_file():
        return f"its weights are missing; {again}"
    return f"{epochs} of {config.training.epochs} epochs done; {again}"


def _of_another(path: Path, words: str) -> str:
    """A config that cannot be read; one with unknown words may be of another version."""
    if not (path / "config.toml").is_file():
        return f"{path} has no config.toml: remove it, or restore that file from a copy"
    if "unknown " not in words:
        return words
    words = re.sub(r";? \(known: [^)]*\)", "", words)  # sixty names would hide the other folders
    return f"{words}; it may be of another version of spikegrad"


def _natural(path: Path) -> tuple[Any, ...]:
    """Numbers in names in the order of numbers: seed-2 before seed-10."""
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in re.split(r"(\d+)", path.name)
    )
