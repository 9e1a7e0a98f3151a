"""The parent: workers side by side, one step of each in turn, rows out of their answers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.networks.registry import IMPLEMENTATIONS
from benchmarks.workers import PAUSE, Settings, Task, Worker, label, ready, running, take_turn
from benchmarks.workloads import Workload, void

__all__ = ["row_of", "tasks", "workload_rows"]

SLOW_MS = 5000.0  # a step beyond this has at most SLOW_REPEATS turns
SLOW_REPEATS = 3


def tasks(workload: Workload, only: Sequence[str], surrogates: Sequence[str]) -> list[Task]:
    """The rows of one workload that are asked for."""
    found = []
    for entry in (IMPLEMENTATIONS[name] for name in only):
        if entry.runs(workload):
            chosen = [s for s in entry.surrogates if s in (*surrogates, "-")]
            found += [Task(workload, entry, s) for s in chosen]
    return found


def workload_rows(
    chosen: list[Task],
    material: Path,
    settings: Settings,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[dict[str, Any]]:
    """The rows of one workload: its workers live side by side and take turns."""
    name = chosen[0].workload.name
    with running([(task, settings) for task in chosen]) as workers:
        for worker in workers:
            say(f"{name}: {label(worker.task)} gets ready")
            ready(worker, material)
        for turn in range(settings.repeats):
            say(f"{name}: turn {turn + 1} of {settings.repeats}")
            order = workers[turn % len(workers) :] + workers[: turn % len(workers)]
            for worker in order:
                if not seen_enough(worker):
                    take_turn(worker)
                    time.sleep(PAUSE)
        for worker in workers:
            yield row_of(worker)


def seen_enough(worker: Worker) -> bool:
    """Whether a failed or a slow row has no more turns."""
    if worker.error is not None:
        return True
    return worker.turns >= SLOW_REPEATS and worker.usual_ms() > SLOW_MS


def row_of(worker: Worker) -> dict[str, Any]:
    """What is written down. A void or failed row has no times: they would be quoted."""
    task, found = worker.task, worker.found
    activities = found.get("activities")
    why = worker.error
    if why is None and task.entry.role != "floor":
        why = void(task.workload, activities)
    row: dict[str, Any] = {
        "workload": task.workload.name,
        "implementation": task.entry.name,
        "version": found.get("version") or task.entry.version(),
        "surrogate": found.get("surrogate") or task.surrogate,
        **dict.fromkeys(("median_ms", "min_ms", "max_ms", "peak_mb")),
        "activity": sum(activities) / len(activities) if activities else None,
        "activities": activities or None,
        "steps": len(worker.ms),
        "threads": worker.settings.threads,
        "isa": found.get("isa"),
        "convention": None if task.entry.role == "floor" else task.entry.convention,
        "spikes_differ": found.get("spikes_differ"),
        "idle_cpu": worker.idle_share(),
        "void": why,
    }
    if why is None and worker.ms:
        row["median_ms"] = statistics.median(worker.ms)
        row["min_ms"], row["max_ms"] = min(worker.ms), max(worker.ms)
        row["peak_mb"] = max(0.0, found["peak_mb"] - found["baseline_mb"])
    return row
