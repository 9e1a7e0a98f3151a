"""The other files of a run folder that the page shows: settings, findings, measures."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikegrad.errors import UserError, message
from spikegrad.report.read import Run, read_run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Record", "read_record"]


@dataclass(frozen=True)
class Record:
    """A run folder, all of it that a page shows.

    run: epochs, result and samples; settings: the tables of `config.toml`; text: the file as it is;
    findings: of `findings.json`; measures, diagnosis: of `measures.json`, `diagnosis.json`, empty
    where there is none; notes: what is missing or damaged, in words; failure: why the run ended
    before its end, "" where it did not.
    """

    run: Run
    settings: dict[str, dict[str, Any]]
    text: str
    findings: list[dict[str, Any]]
    measures: dict[str, Any]
    diagnosis: dict[str, Any]
    notes: tuple[str, ...]
    failure: str = ""

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.run.result)

    @property
    def state(self) -> str:
        """ "finished", "failed", or "training"."""
        return "finished" if self.finished else "failed" if self.failure else "training"

    def setting(self, group: str, name: str, default: Any = None) -> Any:
        """One field of the config."""
        return self.settings.get(group, {}).get(name, default)


def read_record(folder: str | Path) -> Record:
    """Read a run folder for its page; a run that is in training has no result yet.

    Raises:
        UserError: no run folder, or a file in it that is damaged.
    """
    run = read_run(folder)
    path = run.folder
    notes: list[str] = []
    text, settings = read_settings(path / "config.toml", notes)
    measures = read_json(path / "measures.json", dict, {})
    if run.result and not measures:
        notes.append(
            "measures.json is missing, so there is nothing about layers and surrogates: "
            f"`spikegrad eval {path} --pictures` writes it for a run of `spikegrad train`"
        )
    notes += [str(note) for note in measures.get("notes", [])]
    if not run.result and measures.get("epoch") is not None:
        notes.append(f"layers, spikes and surrogates are those after epoch {measures['epoch']}")
    findings = [
        each for each in read_json(path / "findings.json", list, []) if isinstance(each, dict)
    ]
    diagnosis = read_json(path / "diagnosis.json", dict, {})
    failure = read_json(path / "failure.json", dict, {}).get("reason", "")
    return Record(run, settings, text, findings, measures, diagnosis, tuple(notes), str(failure))


def read_settings(path: Path, notes: list[str]) -> tuple[str, dict[str, dict[str, Any]]]:
    """The text of a config and its tables; a damaged one is shown as text alone."""
    if not path.is_file():
        return "", {}
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        notes.append(f"config.toml is damaged: {error}")
        return text, {}
    return text, {name: table for name, table in tables.items() if isinstance(table, dict)}


def read_json(path: Path, kind: type[dict[str, Any]] | type[list[Any]], missing: Any) -> Any:
    """What a JSON file holds; `missing` where there is no such file.

    Raises:
        UserError: it is damaged, or holds something else.
    """
    if not path.is_file():
        return missing
    remedy = f"move {path.name} away: the page does without it"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(message(f"expected JSON in {path}", str(error)[:120], remedy)) from None
    if not isinstance(value, kind):
        what = "an object" if kind is dict else "a list"
        raise UserError(message(f"expected {what} in {path}", type(value).__name__, remedy))
    return value
