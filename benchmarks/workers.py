"""Processes that wait, each with one thing to time: started, made ready, asked for a step."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks import meter
from benchmarks.instructions import environment
from benchmarks.networks.registry import Implementation
from benchmarks.workloads import Workload

__all__ = ["MOST_DIFFERING", "Settings", "Task", "Worker", "label", "ready", "running", "take_turn"]

ROOT = Path(__file__).resolve().parents[1]
MOST_DIFFERING = 0.005
"""Spikes per expected spike that may differ: a sum in another order moves a membrane by 1e-7; where
that crosses the threshold a recurrent network differs from there on. Another convention differs in
most spikes."""

BURST_MS = 100.0  # a turn of a fast step lasts about so long
PAUSE = 0.02
"""s after each turn: threads that spin on for a moment, waiting for work, have stopped by then."""


@dataclass(frozen=True)
class Settings:
    """threads: of every worker; repeats: turns; isa: a name of `instructions.SETS`; checkout: whose
    `spikegrad` is measured, by the benchmarks beside this file; pythons: the interpreter that has a
    package, if it is not this one; cpu_time: steps are measured in processor time of all threads.
    """

    threads: int
    repeats: int = 7
    isa: str = "native"
    checkout: Path = ROOT
    pythons: Mapping[str, str] = field(default_factory=dict)
    cpu_time: bool = False


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
    settings: Settings
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

    def usual_ms(self) -> float:
        """A step's time, as far as it is known."""
        return statistics.median(self.ms) if self.ms else self.found["warm_ms"]

    def idle_share(self) -> float | None:
        """Processor time while it waited, per second of waiting."""
        seconds = sum(s for s, _ in self.idle)
        return sum(used for _, used in self.idle) / seconds if seconds > 0.5 else None


def ready(worker: Worker, material: Path) -> None:
    """Let a worker build, compare its spikes and warm up."""
    task = worker.task
    found = worker.ask(
        {
            "workload": asdict(task.workload),
            "implementation": task.entry.name,
            "surrogate": task.surrogate,
            "material": str(material),
            "threads": worker.settings.threads,
            "cpu_time": worker.settings.cpu_time,
        }
    )
    worker.found = found or {}
    differ = worker.found.get("spikes_differ")
    if differ is not None and differ > MOST_DIFFERING:
        worker.error = (
            f"expected the spikes of the convention '{task.entry.convention}', "
            f"got {differ:.2%} of them different"
        )


def take_turn(worker: Worker) -> list[float]:
    """One step, or as many as fill a tenth of a second; the first of a burst wakes the threads
    and is not counted. The milliseconds of those that are.
    """
    if worker.error is not None:
        return []
    count = max(1, min(30, round(BURST_MS / worker.usual_ms())))
    answer = worker.ask({"steps": count + (count > 1)})
    if answer is None:
        return []
    counted = answer["ms"][1:] if count > 1 else answer["ms"]
    worker.ms += counted
    worker.found["peak_mb"] = answer["peak_mb"]
    worker.turns += 1
    return counted


def label(task: Task) -> str:
    return task.entry.name if task.surrogate == "-" else f"{task.entry.name} ({task.surrogate})"


@contextmanager
def running(chosen: Sequence[tuple[Task, Settings]]) -> Iterator[list[Worker]]:
    """A waiting process per task; all end with the block."""
    started: list[Worker] = []
    with ExitStack() as stack:
        for task, settings in chosen:
            said = stack.enter_context(tempfile.TemporaryFile("w+"))  # an unread pipe would fill
            folder = stack.enter_context(place(settings.checkout))
            process = launched(said, settings, folder, task.entry.package)
            worker = Worker(task, settings, said, process)
            stack.callback(process.wait)
            stack.callback(process.kill)
            if task.entry.jax:
                cores = sorted(os.sched_getaffinity(0))[: settings.threads]
                os.sched_setaffinity(process.pid, cores)
            started.append(worker)
        yield started


@contextmanager
def place(checkout: Path) -> Iterator[Path]:
    """A folder where these benchmarks stand beside the `spikegrad` of a checkout."""
    if checkout == ROOT:
        yield ROOT
        return
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        for package, root in (("benchmarks", ROOT), ("spikegrad", checkout)):
            (Path(name) / package).symlink_to(root / package, target_is_directory=True)
        yield Path(name)


def launched(
    said: IO[str], settings: Settings, folder: Path, package: str
) -> subprocess.Popen[str]:
    """A worker with the threads and the instruction set, in every library that reads them from the
    environment. It starts in the folder: `python -m` looks there first.
    """
    variables = environment(settings.isa)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        variables[name] = str(settings.threads)
    # What torch compiled for one set is nothing for another, and its cache does not ask.
    cache = Path(tempfile.gettempdir()) / f"benchmarks-inductor-{settings.isa}"
    variables["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    paths = [str(folder), *variables.get("PYTHONPATH", "").split(os.pathsep)]
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return subprocess.Popen(
        [settings.pythons.get(package, sys.executable), "-m", "benchmarks.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
        env=variables,
        cwd=folder,
    )
