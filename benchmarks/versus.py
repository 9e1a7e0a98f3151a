"""`python -m benchmarks.versus --old CHECKOUT`: this checkout beside another one, in turns.

Or one checkout with two instruction sets: `--isa avx2 --old-isa avx512`. Two processes live side by
side; while one does its turn the other waits. A turn is one step or as many as fill a tenth of a
second, and what counts is the ratio of a turn's median to that of its neighbour in time, so that
whatever else the machine does meets both. Who begins alternates. Where memory lies differs between
processes and may cost some per cent, so there are several rounds, each of two new processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import instructions, meter
from benchmarks import options as given
from benchmarks.harness import tasks
from benchmarks.table import words
from benchmarks.workers import PAUSE, ROOT, Settings, Task, Worker, ready, running, take_turn
from benchmarks.workloads import SURROGATES, WORKLOADS, tiny

__all__ = ["compared", "main"]

NAMES = ("new", "old")


@dataclass(frozen=True)
class Round:
    """The turns of two processes: the median milliseconds of each turn, by side."""

    new: list[float]
    old: list[float]

    def ratios(self) -> list[float]:
        """New over old, turn by turn.

        >>> Round([1.0, 3.0], [2.0, 2.0]).ratios()
        [0.5, 1.5]
        """
        return [new / old for new, old in zip(self.new, self.old, strict=True)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a row per workload and surrogate; 1 where a ratio is above the limit."""
    options = parsed(arguments)
    sides = (
        Settings(options.threads, isa=options.isa, cpu_time=options.cpu_time),
        Settings(
            options.threads, isa=options.old_isa, checkout=options.old, cpu_time=options.cpu_time
        ),
    )
    result: dict[str, Any] = {
        "machine": meter.machine(),
        "isa": options.isa,
        "torch": version("torch"),
        "threads": options.threads,
        "cpu_time": options.cpu_time,
        "limit": options.limit,
        "sides": {},
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in options.workload:
            measure(name, options, sides, Path(folder), result)
            if options.json:
                Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    show(result)
    slow = [r for r in result["rows"] if options.limit and r["ratio"] > options.limit]
    if options.limit:
        print(f"{len(slow)} of {len(result['rows'])} ratios are above {options.limit}")
    return int(bool(slow))


def measure(
    name: str,
    options: argparse.Namespace,
    sides: tuple[Settings, Settings],
    folder: Path,
    result: dict[str, Any],
) -> None:
    """Add the rows of one workload to the result."""
    import torch

    from benchmarks.material import make

    torch.set_num_threads(options.threads)
    workload = tiny(WORKLOADS[name]) if options.tiny else WORKLOADS[name]
    material, _ = make(workload, folder)
    for task in tasks(workload, ["ours"], options.surrogate):
        rounds = []
        for number in range(options.rounds):
            done, found = one_round(task, sides, material, options.turns, number % 2)
            rounds.append(done)
            result["sides"] = dict(zip(NAMES, found, strict=True))
        row = {"workload": name, "surrogate": task.surrogate, **compared(rounds)}
        result["rows"].append(row)
        print(line(row), flush=True)
    material.unlink()


def one_round(
    task: Task, sides: tuple[Settings, Settings], material: Path, turns: int, first: int
) -> tuple[Round, list[dict[str, Any]]]:
    """Two new processes that take turns, and what each of them is."""
    with running([(task, side) for side in sides]) as workers:
        for worker in workers:
            ready(worker, material)
            check(worker)
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(turns):
            order = (0, 1) if (turn + first) % 2 == 0 else (1, 0)
            for side in order:
                took = take_turn(workers[side])
                check(workers[side])
                times[side].append(statistics.median(took))
                time.sleep(PAUSE)
        return Round(*times), [about(worker) for worker in workers]


def check(worker: Worker) -> None:
    """End where a process has failed, or runs another package than it was to run."""
    wanted = (worker.settings.checkout / "spikegrad").resolve()
    if worker.error is None and worker.found["package"] != str(wanted):
        worker.error = f"expected spikegrad from {wanted}, got {worker.found['package']}"
    if worker.error is not None:
        task = worker.task
        raise SystemExit(f"{task.workload.name}, {task.surrogate}: {worker.error}")


def about(worker: Worker) -> dict[str, Any]:
    """What a side is: its place, instruction set and crossover table."""
    return {key: worker.found[key] for key in ("package", "isa", "crossover")}


def compared(rounds: Sequence[Round]) -> dict[str, Any]:
    """The median ratio of all turns, its quartiles, the median of each round, and milliseconds.

    >>> compared([Round([2.0, 4.0, 6.0], [2.0, 2.0, 2.0])])["ratio"]
    2.0
    """
    ratios = [ratio for done in rounds for ratio in done.ratios()]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {
        "ratio": statistics.median(ratios),
        "quartiles": [low, high],
        "of_rounds": [statistics.median(done.ratios()) for done in rounds],
        "new_ms": statistics.median(ms for done in rounds for ms in done.new),
        "old_ms": statistics.median(ms for done in rounds for ms in done.old),
        "turns": len(ratios),
    }


def line(row: dict[str, Any]) -> str:
    """A row in words, as soon as it is there."""
    return f"{row['workload']} {row['surrogate']}: {row['ratio']:.3f}"


def show(result: dict[str, Any]) -> None:
    """What was compared, and a row per workload and surrogate."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(words(result), highlight=False, soft_wrap=True)
    for name, side in result["sides"].items():
        console.print(
            f"{name}: {side['package']}, {side['isa']}, crossover table: {side['crossover']}",
            highlight=False,
            soft_wrap=True,
        )
    heads = ("", "surrogate", "new ms", "old ms", "new / old", "quartiles", "of each round")
    shown = Table(*heads, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for row in result["rows"]:
        cells = (f"{row['new_ms']:.2f}", f"{row['old_ms']:.2f}", f"{row['ratio']:.3f}")
        spread = " to ".join(f"{value:.3f}" for value in row["quartiles"])
        rounds = ", ".join(f"{value:.3f}" for value in row["of_rounds"])
        shown.add_row(row["workload"], row["surrogate"], *cells, spread, rounds)
    console.print(shown, highlight=False)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus", description=summary)
    parser.add_argument("--old", type=Path, default=ROOT, metavar="CHECKOUT", help="another one")
    given.isa(parser)
    parser.add_argument("--old-isa", choices=list(instructions.SETS), help="default: that of --isa")
    parser.add_argument("--workload", default=",".join(WORKLOADS), help="which (%(default)s)")
    parser.add_argument("--surrogate", default=",".join(SURROGATES), help="which (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of processes (%(default)s)")
    parser.add_argument("--turns", type=int, default=9, help="of each process (%(default)s)")
    given.threads(parser)
    given.cpu_time(parser)
    parser.add_argument("--limit", type=float, metavar="RATIO", help="fail above this ratio")
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    parser.add_argument("--tiny", action="store_true", help="a few neurons: tests the program")
    options = parser.parse_args(arguments)
    given.listed(parser, options, {"workload": WORKLOADS, "surrogate": SURROGATES})
    options.old = options.old.resolve()
    if not (options.old / "spikegrad" / "__init__.py").is_file():
        parser.error(f"expected --old to be a checkout of spikegrad, got {options.old}")
    options.old_isa = options.old_isa or options.isa
    if options.old == ROOT and options.old_isa == options.isa:
        parser.error("expected --old or --old-isa: both sides are the same")
    if min(options.rounds, options.turns, options.threads) < 1:
        parser.error("expected --rounds, --turns and --threads of at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
