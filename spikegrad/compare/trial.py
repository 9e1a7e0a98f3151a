"""One trial: train a config in its run folder, wherever an executor runs it.

What goes in and out is plain data, so that any executor can send it: another process, another
machine with the same files. An error of the trial is its outcome, never an exception.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from spikegrad.compare.outcome import FLOW, Outcome, held
from spikegrad.errors import RunError, SpikegradWarning, UserError
from spikegrad.train.config import Config, gather

__all__ = ["INTERRUPTED", "run_trial"]

INTERRUPTED = "interrupted"
"""In what comes back of a trial that a signal stopped, after its checkpoint: the signal."""

_ONE = threading.Lock()
"""Runs share torch's random numbers and settings: in one process they run one after the other."""


def run_trial(values: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Train one config, or go on where it was stopped.

    Args:
        values: all fields of the config; folder: its run folder, new or one that holds the run.
    Returns:
        an `Outcome` as plain data, with `failed` where it did not finish; or `INTERRUPTED` alone.
    """
    with _ONE, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", SpikegradWarning)
        try:
            outcome = _trained(gather(values), Path(folder))
        except KeyboardInterrupt as stop:
            return {INTERRUPTED: int(getattr(stop, "number", signal.SIGINT))}
        except Exception as error:
            outcome = Outcome(failed=_reason(error))
    ours = [str(each.message) for each in said if issubclass(each.category, SpikegradWarning)]
    return asdict(replace(outcome, warnings=list(dict.fromkeys(ours))))


def _trained(config: Config, folder: Path) -> Outcome:
    from spikegrad.train.app import train_run
    from spikegrad.train.build import data_kept

    with data_kept():
        resume = (folder / "config.toml").is_file()
        train_run(config, folder, resume=resume, progress=False)
        if not (folder / FLOW).is_file():
            _write_flow(config, folder)
    outcome = held(folder)
    if outcome is None:
        raise RunError(f"{folder} has no result")
    return outcome


def _write_flow(config: Config, folder: Path) -> None:
    """The gradient flow of the network before its first step; a side figure that may be missing."""
    from spikegrad.train.folder import write_atomic
    from spikegrad.train.subject import untrained

    flow: dict[str, Any] = {}
    with suppress(UserError, RuntimeError, TypeError):  # a network that it cannot record
        for layer in untrained(config).flow().layers:
            flow[layer.name] = {
                "gradient": _finite(layer.total),
                "growth": _finite(layer.growth),
                "passing": _finite(sum(layer.passing) / max(1, len(layer.passing))),
            }
    write_atomic(folder / FLOW, (json.dumps(flow) + "\n").encode())


def _finite(value: float | None) -> float | None:
    """What JSON can hold."""
    return value if value is not None and math.isfinite(value) else None


def _reason(error: Exception) -> str:
    """An error in one line: ours as they are, others with their kind."""
    words = " ".join(str(error).split())
    ours = isinstance(error, (UserError, RunError))
    return words if ours else f"{type(error).__name__}: {words}".rstrip(": ")
