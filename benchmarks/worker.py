"""One (workload, implementation) in a process of its own, told by its parent what to do.

Lines of JSON on stdin, one answer each on stdout: first the job, then `{"steps": n}` as often as
the parent likes, then the end of the input. Whatever a library prints goes to stderr.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TextIO

import numpy as np

from benchmarks import meter
from benchmarks.networks.registry import IMPLEMENTATIONS
from benchmarks.workloads import Workload

__all__ = ["differing", "main"]

WARM = 3  # untimed steps; two of more than a second each


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch = find_torch()  # while the others do the same, before the first order
    trainer: Any = None
    clock = time.perf_counter
    for line in sys.stdin:
        order = json.loads(line)
        if "steps" in order:
            answer = {"ms": [timed(trainer, clock) for _ in range(order["steps"])]}
            answer["peak_mb"] = meter.peak_mb()
        else:
            if torch is not None:
                torch.set_flush_denormal(True)
                torch.set_num_threads(order["threads"])
            clock = time.process_time if order["cpu_time"] else time.perf_counter
            trainer, answer = prepare(order)
            gc.collect()
            gc.freeze()  # what imports made is not searched at every collection
        say(answers, answer)


def find_torch() -> Any:
    """torch, or None where a peer in JAX has an environment of its own without it."""
    return import_module("torch") if find_spec("torch") else None


def say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def timed(trainer: Any, clock: Callable[[], float] = time.perf_counter) -> float:
    """Milliseconds of one step."""
    start = clock()
    trainer.step()
    return 1000 * (clock() - start)


def prepare(order: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Build, measure the baseline, compare spikes, warm up; the trainer and what was found."""
    trainer, entry = build(order), IMPLEMENTATIONS[order["implementation"]]
    trainer.step(2)  # libraries load parts of themselves at their first step
    trainer.adam_alone()
    meter.settle()
    baseline = meter.resident_mb()
    spikes = trainer.spikes()
    found = {
        **trainer.about(),
        "version": entry.version(),
        "surrogate": trainer.surrogate,
        "activities": [float(s.mean(dtype=np.float64)) for s in spikes],
        "spikes_differ": differing(spikes, entry.convention, order["material"]),
    }
    del spikes
    meter.settle()
    warm = [timed(trainer)]
    warm += [timed(trainer) for _ in range(1 if warm[0] > 1000 else WARM - 1)]
    meter.settle()
    meter.reset_peak()
    return trainer, {**found, "baseline_mb": baseline, "warm_ms": warm[-1]}


def build(order: dict[str, Any]) -> Any:
    """The trainer of an order."""
    from benchmarks.arrays import read
    from benchmarks.networks.job import Job

    given = order["workload"]
    workload = Workload(**{**given, "hidden": tuple(given["hidden"])})
    entry = IMPLEMENTATIONS[order["implementation"]]
    arrays = read(order["material"], entry.convention)
    job = Job(workload, entry.name, order["surrogate"], arrays, entry.options)
    return import_module(f"benchmarks.networks.{entry.module}").build(job)


def differing(spikes: list[np.ndarray], convention: str, material: str) -> float | None:
    """Spikes that differ from the convention's equation over the first steps, per spike expected;
    None for a network without spikes.
    """
    if not spikes:
        return None
    wrong = total = 0
    with np.load(material) as data:
        for i, s in enumerate(spikes):
            expected = data[f"spikes_{convention}_{i}"]
            wrong += int((s[: len(expected)].astype(bool) != expected).sum())
            total += int(expected.sum())
    return wrong / max(total, 1)


if __name__ == "__main__":
    main()
    os._exit(0)  # nothing of a worker is worth its libraries' slow farewells
