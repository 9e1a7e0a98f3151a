"""The parent: workers side by side, one step of each in turn, rows out of their answers."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks import meter
from benchmarks.networks.registry import IMPLEMENTATIONS, Implementation
from benchmarks.workloads import Workload, void

__all__ = ["MOST_DIFFERING", "Settings", "Task", "row_of", "tasks", "workload_rows"]

ROOT = Path(__file__).resolve().parents[1]
MOST_DIFFERING = 0.005
"""Spikes per expected spike that may differ: a sum in another order moves a membrane by 1e-7; where
that crosses the threshold a recurrent network differs from there on. Another convention differs in
most spikes."""

BURST_MS = 100.0  # a turn of a fast step lasts about so long
SLOW_MS = 5000.0  # a step beyond this has at most SLOW_REPEATS turns
SLOW_REPEATS = 3
PAUSE = 0.02
"""s after each turn: threads that spin on for a moment, waiting for work, have stopped by then."""


@dataclass(frozen=True)
class Settings:
    """threads: of every worker; repeats: turns."""

    threads: int
    repeats: int = 7


@dataclass(frozen=True)
class Task:
    """One row to be."""

    workload: Workload
    entry: Implementation
    surrogate: str


@dataclass
class Worker:
    """A process, what it said when it was ready, and the times of its steps."""

    task: Task
    said: IO[str]  # its stderr
    process: subprocess.Popen[str]
    found: dict[str, Any] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)
    error: str | None = None
    turns: int = 0
    idle_since: tuple[float, float] | None = None  # (clock, its processor time)
    idle: list[tuple[float, float]] = field(default_factory=list)  # (seconds, of them at work)

    def ask(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """Send an order, wait for the answer; None and `error` if the process has died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pid = self.process.pid
        if self.idle_since is not None:
            clock, used = self.idle_since
            self.idle.append((time.perf_counter() - clock, meter.cpu_seconds(pid) - used))
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.process.wait()
            self.error = self.last_words()
            return None
        self.idle_since = (time.perf_counter(), meter.cpu_seconds(pid))
        return json.loads(line)

    def last_words(self) -> str:
        """The last line that a dead process wrote to stderr."""
        self.said.seek(0)
        lines = [line for line in self.said.read().splitlines() if line.strip()]
        return lines[-1] if lines else f"the worker ended with status {self.process.returncode}"

    def idle_share(self) -> float | None:
        """Processor time while it waited, per second of waiting."""
        seconds = sum(s for s, _ in self.idle)
        return sum(used for _, used in self.idle) / seconds if seconds > 0.5 else None


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
    with processes(chosen, settings) as workers:
        for worker in workers:
            say(f"{name}: {label(worker.task)} gets ready")
            ready(worker, material, settings)
        for turn in range(settings.repeats):
            say(f"{name}: turn {turn + 1} of {settings.repeats}")
            order = workers[turn % len(workers) :] + workers[: turn % len(workers)]
            for worker in order:
                take_turn(worker)
                time.sleep(PAUSE)
        for worker in workers:
            yield row_of(worker, settings)


def ready(worker: Worker, material: Path, settings: Settings) -> None:
    """Let a worker build, compare its spikes and warm up."""
    task = worker.task
    found = worker.ask(
        {
            "workload": asdict(task.workload),
            "implementation": task.entry.name,
            "surrogate": task.surrogate,
            "material": str(material),
            "threads": settings.threads,
        }
    )
    worker.found = found or {}
    differ = worker.found.get("spikes_differ")
    if differ is not None and differ > MOST_DIFFERING:
        worker.error = (
            f"expected the spikes of the convention '{task.entry.convention}', "
            f"got {differ:.2%} of them different"
        )


def take_turn(worker: Worker) -> None:
    """One step, or as many as fill a tenth of a second; the first of a burst wakes the threads
    and is not counted.
    """
    if worker.error is not None:
        return
    usual = statistics.median(worker.ms) if worker.ms else worker.found["warm_ms"]
    if usual > SLOW_MS and worker.turns >= SLOW_REPEATS:
        return
    count = max(1, min(30, round(BURST_MS / usual)))
    answer = worker.ask({"steps": count + (count > 1)})
    if answer is not None:
        worker.ms += answer["ms"][1:] if count > 1 else answer["ms"]
        worker.found["peak_mb"] = answer["peak_mb"]
        worker.turns += 1


def row_of(worker: Worker, settings: Settings) -> dict[str, Any]:
    """What is written down. A void or failed row has no times: they would be quoted."""
    task, found = worker.task, worker.found
    activities = found.get("activities")
    why = worker.error
    if why is None and task.entry.role != "floor":
        why = void(task.workload, activities)
    row: dict[str, Any] = {
        "workload": task.workload.name,
        "implementation": task.entry.name,
        "version": task.entry.version(),
        "surrogate": found.get("surrogate") or task.surrogate,
        **dict.fromkeys(("median_ms", "min_ms", "max_ms", "peak_mb")),
        "activity": sum(activities) / len(activities) if activities else None,
        "activities": activities or None,
        "steps": len(worker.ms),
        "threads": settings.threads,
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


def label(task: Task) -> str:
    return task.entry.name if task.surrogate == "-" else f"{task.entry.name} ({task.surrogate})"


@contextmanager
def processes(chosen: list[Task], settings: Settings) -> Iterator[list[Worker]]:
    """A waiting process per task; all end with the block."""
    cores = sorted(os.sched_getaffinity(0))[: settings.threads]
    started: list[Worker] = []
    with ExitStack() as stack:
        for task in chosen:
            said = stack.enter_context(tempfile.TemporaryFile("w+"))  # an unread pipe would fill
            worker = Worker(task, said, launched(said, settings.threads))
            stack.callback(worker.process.wait)
            stack.callback(worker.process.kill)
            if task.entry.name == "spyx":  # JAX takes as many threads as cores that it may use
                os.sched_setaffinity(worker.process.pid, cores)
            started.append(worker)
        yield started


def launched(said: IO[str], threads: int) -> subprocess.Popen[str]:
    """A worker with that many threads, in every library that reads the environment."""
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = str(threads)
    paths = [str(ROOT), *environment.get("PYTHONPATH", "").split(os.pathsep)]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
        env=environment,
    )
