"""A comparison is a folder: the plan, a run folder for each trial, the results.

| file | content |
|---|---|
| `comparison.json` | what is compared: variants with all their settings, seeds, metric |
| `NN-VARIANT/seed-N/` | the run of a trial; `flow.json`: its gradients before the first step |
| `failed.json` | trials that did not finish, each with the reason; they are tried again |
| `results.json` | the ranking, all pairs, the figures of every trial |
| `trials.csv` | a line for each trial: settings, seed and figures |
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from spikegrad.compare.plan import Plan
from spikegrad.errors import UserError, message
from spikegrad.train.folder import ANOTHER, RunFolder, only_one, write_atomic
from spikegrad.version import __version__

__all__ = ["PLAN", "ComparisonFolder"]

PLAN = "comparison.json"
_VERSION = 1  # of the file's form


class ComparisonFolder:
    """The files of one comparison."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan_file = path / PLAN
        self.failed_file = path / "failed.json"
        self.results = path / "results.json"
        self.csv = path / "trials.csv"

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether there is a comparison in a folder."""
        return (path / PLAN).is_file()

    @classmethod
    def create(cls, path: Path, plan: Plan) -> ComparisonFolder:
        """A new folder with its plan.

        Raises:
            UserError: a folder with something in it, or one that cannot be written.
        """
        if cls.is_one(path):
            remedy = f"continue it with --resume {path} (run: resume=True), or {ANOTHER}"
            raise UserError(message("expected an empty or new folder", str(path), remedy))
        RunFolder.check_new(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"{path}: {error.strerror or error}"
            raise UserError(message("expected a writable folder", reason)) from None
        made = cls(path)
        made.write_plan(plan)
        return made

    def write_plan(self, plan: Plan) -> None:
        """Write `comparison.json`."""
        head = {"form": _VERSION, "spikegrad": __version__}
        _write(self.plan_file, {**head, **plan.data()})

    def plan(self) -> Plan:
        """What the comparison runs.

        Raises:
            UserError: no comparison there, a damaged file, or one of another version.
        """
        if not self.plan_file.is_file():
            what = f"a folder without {PLAN}" if self.path.is_dir() else "nothing there"
            raise UserError(message("expected the folder of a comparison", f"{self.path}: {what}"))
        remedy = "restore it from a copy; the runs in the folder can be compared by their names"
        try:
            data = json.loads(self.plan_file.read_text(encoding="utf-8"))
            if not isinstance(data, dict):
                raise ValueError("no object")
            if data.get("form", _VERSION) != _VERSION:
                form, by = data["form"], data.get("spikegrad", "?")
                raise ValueError(f"form {form} of spikegrad {by}, not {_VERSION}")
            return Plan.from_data(data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"[:160]
            expected = f"expected a complete {self.plan_file}"
            raise UserError(message(expected, reason, remedy)) from None

    def locked(self) -> AbstractContextManager[None]:
        """Keep every other process from running this comparison while the context is open."""
        return only_one(self.plan_file, self.path)

    def failed(self) -> dict[str, str]:
        """The reasons of trials that did not finish, by their folder; {} where that is unknown."""
        try:
            data = json.loads(self.failed_file.read_text(encoding="utf-8"))
            return {str(name): str(reason) for name, reason in data.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def write_failed(self, reasons: Mapping[str, str]) -> None:
        """Write `failed.json`, or remove it where nothing failed."""
        if reasons:
            _write(self.failed_file, dict(reasons))
        else:
            self.failed_file.unlink(missing_ok=True)

    def write_results(self, data: Mapping[str, Any], rows: Sequence[Sequence[Any]]) -> None:
        """Write `results.json` and `trials.csv`."""
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        write_atomic(self.csv, text.getvalue().encode())
        _write(self.results, dict(data))


def _write(path: Path, data: dict[str, Any]) -> None:
    write_atomic(path, (json.dumps(data, indent=1) + "\n").encode())
