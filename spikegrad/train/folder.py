"""A run is a folder; whatever is in it is whole.

The folder appears together with its `config.toml` (a rename), every file is replaced as a whole
(`write_atomic`), and `result.json` comes last: its presence says that the run is finished.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import NoneType
from typing import Any

from spikegrad.errors import RunError, SpikegradWarning, UserError, message

__all__ = ["ANOTHER", "RunFolder", "not_written", "only_one", "write_atomic"]

ANOTHER = "give another folder (--out, out=)"
"""What to do about a folder that holds something else."""

_RESULT: dict[str, tuple[type, ...]] = {
    "best_epoch": (int,),
    "epochs": (int,),
    "train_seconds": (int, float),
    "seconds_per_epoch": (int, float),
    "parameters": (int,),
    "firing_rates": (dict,),
}
_ACCURACIES = ("test_accuracy", "val_accuracy", "best_test_accuracy")  # none where no classes are


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file by these bytes, whole or not at all, through a crash of the machine too.

    The bytes go to a temporary file of a fixed name in the same folder, are flushed to disk, and
    take the file's name; a kill leaves the old file, and at most one temporary one behind.

    Raises:
        RunError: it cannot be written (a full disk); the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(not_written(path, error)) from None


def not_written(path: Path, error: OSError) -> str:
    """The message for a file that could not be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space" if full else "make its folder writable, or give another one"
    return message(f"expected to write {path}", error.strerror or str(error), remedy)


class RunFolder:
    """The files of one run.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as there:
    ...     run = RunFolder.create(Path(there) / "run", "[run]\\n")
    ...     run.write_metrics([{"epoch": 1, "train_loss": 0.5}])
    ...     run.metrics(), run.finished
    ([{'epoch': 1, 'train_loss': 0.5}], False)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.crossover = path / "crossover.json"
        self.own = path / "own.json"
        self.metrics_file = path / "metrics.jsonl"
        self.findings = path / "findings.json"
        self.diagnosis = path / "diagnosis.json"
        self.result_file = path / "result.json"
        self.failure_file = path / "failure.json"
        self.weights = path / "weights.safetensors"
        self.checkpoint = path / "checkpoint.pt"
        self.samples = path / "samples.npz"
        self.measures = path / "measures.json"
        self.tensorboard = path / "tensorboard"
        self.pictures = path / "pictures"
        self.report = path / "report.html"

    @staticmethod
    def check_new(path: Path) -> None:
        """Refuse a place where there is something already; nothing is written.

        Raises:
            UserError: a file, or a folder that is not empty.
        """
        if path.is_dir() and any(path.iterdir()):
            remedy = ANOTHER
            if (path / "config.toml").is_file():
                remedy = f"continue it with --resume {path} (fit: resume=True), or {remedy}"
            raise UserError(message("expected an empty or new run folder", f"{path}", remedy))
        if path.exists() and not path.is_dir():
            expected = "expected a new run folder"
            raise UserError(message(expected, f"the file {path}", ANOTHER))

    @classmethod
    def create(cls, path: Path, config: str, crossover: str = "", own: str = "") -> RunFolder:
        """Make the folder at once with its config, the kernels' crossover table, and what it
        depends on that is the caller's own (`identity`).
        """
        cls.check_new(path)
        path = path.resolve() if path.is_symlink() else path  # a rename would replace the link
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.parent / f".{path.name}.tmp"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            write_atomic(temporary / "config.toml", config.encode())
            for name, text in (("crossover.json", crossover), ("own.json", own)):
                if text:
                    write_atomic(temporary / name, text.encode())
            if path.is_dir() and os.name == "nt":
                path.rmdir()
            os.replace(temporary, path)
        except (OSError, RunError) as error:
            reason = f"{path}: {getattr(error, 'strerror', None) or error}"
            raise UserError(message("expected a writable run folder", reason)) from None
        _sync(path.parent)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run in a folder.

        Raises:
            UserError: there is none.
        """
        run = cls(path)
        if not run.config.is_file():
            what = "a folder without config.toml" if path.is_dir() else "nothing there"
            raise UserError(message("expected a run folder", f"{path}: {what}"))
        return run

    def take_back(self) -> None:
        """Remove the folder if what it was made with is all there is in it."""
        first = {self.config, self.crossover, self.own}
        if set(self.path.iterdir()) <= first:
            for path in first:
                path.unlink(missing_ok=True)
            self.path.rmdir()

    @property
    def finished(self) -> bool:
        """Whether the run came to its end, and its weights are there.

        Weights that were lost are written again from the checkpoint, as in a run broken off.
        """
        return self.result_file.is_file() and self.weights.is_file()

    @property
    def failure(self) -> str:
        """Why the run ended before its end, "" where it did not: a signal is no failure."""
        if self.finished or not self.failure_file.is_file():
            return ""
        try:
            return str(json.loads(self.failure_file.read_text(encoding="utf-8"))["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return f"{self.failure_file.name} cannot be read"

    def write_failure(self, reason: str) -> None:
        """Write `failure.json`."""
        write_atomic(self.failure_file, (json.dumps({"reason": reason}) + "\n").encode())

    def remove_failure(self) -> None:
        """The run goes on."""
        with suppress(OSError):
            self.failure_file.unlink(missing_ok=True)

    def check_weights(self, remedy: str) -> None:
        """Weights that can be read; those of a run that failed later are named.

        Raises:
            UserError: there are none; remedy: what makes them.
        """
        if not self.weights.is_file():
            got = "none"
            if self.failure:
                remedy, got = (
                    "train again with other settings",
                    f"a run that failed: {self.failure}",
                )
            raise UserError(message(f"expected weights in {self.path}", got, remedy))
        if self.failure:
            text = f"{self.path} failed when it went on ({self.failure}); its weights are older"
            warnings.warn(text, SpikegradWarning, stacklevel=3)

    @property
    def pictured(self) -> bool:
        """Whether all its pictures are drawn: those that a readable `index.json` lists."""
        try:
            names = json.loads((self.pictures / "index.json").read_text(encoding="utf-8"))
            return bool(names) and all((self.pictures / name).is_file() for name in [*names])
        except (OSError, ValueError, TypeError):
            return False

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """Replace `metrics.jsonl` by these lines."""
        lines = "".join(json.dumps(line) + "\n" for line in history)
        write_atomic(self.metrics_file, lines.encode())

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`.

        Raises:
            UserError: they are damaged or missing.
        """
        with self._readable(self.metrics_file):
            text = self.metrics_file.read_text(encoding="utf-8")
            lines = [json.loads(line) for line in text.splitlines()]
            if not all(isinstance(line, dict) for line in lines):
                raise ValueError("a line that is no object")
            return lines

    def found(self) -> list[dict[str, Any]]:
        """What `findings.json` says; each has at least a step and a line.

        Raises:
            UserError: it is damaged.
        """
        with self._readable(self.findings):
            entries = json.loads(self.findings.read_text(encoding="utf-8"))
            if not isinstance(entries, list):
                raise ValueError("no list")
            for entry in entries:
                if not (isinstance(entry, dict) and {"step", "line"} <= entry.keys()):
                    raise ValueError("an entry without step and line")
            return entries

    def write_result(self, result: dict[str, Any]) -> None:
        """Write `result.json`: the run is finished."""
        write_atomic(self.result_file, (json.dumps(result, indent=2) + "\n").encode())

    def result(self) -> dict[str, Any]:
        """What `result.json` says.

        Raises:
            UserError: it is damaged.
        """
        with self._readable(self.result_file):
            value = json.loads(self.result_file.read_text(encoding="utf-8"))
            if not isinstance(value, dict):
                raise ValueError("no object")
            for name, kinds in _RESULT.items():
                if name not in value or not isinstance(value[name], kinds):
                    raise ValueError(f"{name} is {value.get(name, 'missing')!r}")
            for name in _ACCURACIES:
                if not isinstance(value.get(name), (float, NoneType)):
                    raise ValueError(f"{name} is {value[name]!r}")
            return value

    def again(self, path: Path) -> str:
        """What to do about a damaged file of a finished run."""
        if path == self.findings:
            return f"move {path.name} away: nothing else needs it"
        return f"move {path.name} away and resume the run: checkpoint.pt has the data"

    @contextmanager
    def _readable(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            reason = f"{getattr(error, 'strerror', None) or error}"[:120]
            remedy = self.again(path if path == self.findings else self.result_file)
            raise UserError(message(f"expected a complete {path}", reason, remedy)) from None

    def locked(self) -> AbstractContextManager[None]:
        """Keep every other process from training in this folder while the context is open.

        Raises:
            UserError: another process trains in it.
        """
        return only_one(self.config, self.path)


@contextmanager
def only_one(file: Path, place: Path) -> Iterator[None]:
    """Hold the lock of a file while the context is open; no other process can hold it then.

    Args:
        file: what is locked; place: the folder that is named in the error.
    Raises:
        UserError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    with open(file, "rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            expected = f"expected {place} to be free"
            got = "another process training in it"
            raise UserError(message(expected, got, "wait for it or stop it")) from None
        yield


def _sync(folder: Path) -> None:
    """Flush a folder's entries, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
