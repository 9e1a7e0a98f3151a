"""Several ways of doing one thing in one process, timed in turns."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import torch

from benchmarks import meter
from spikegrad.kernels import available
from spikegrad.kernels.cpu import isa

__all__ = ["least_ms", "setting", "start"]

Way = TypeVar("Way", bound=Hashable)
WARM_UP = 2


def start(threads: int) -> None:
    """The process as benchmarks of the kernels want it; ends it where there are no kernels."""
    if available()["cpu"]:
        raise SystemExit(f"no native kernels: {available()['cpu']}")
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def setting(threads: int) -> dict[str, Any]:
    """What a result must say of the process that measured it."""
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return {
        "machine": meter.machine(),
        "isa": isa(),
        "torch": torch.__version__,
        "torch_isa": capability,
        "threads": threads,
    }


def turn(
    runs: Mapping[Way, Callable[[], object]], order: list[Way], clock: Callable[[], float]
) -> dict[Way, float]:
    """One run of each, in that order (ms)."""
    took = {}
    for way in order:
        before = clock()
        runs[way]()
        took[way] = 1000 * (clock() - before)
    return took


def least_ms(
    runs: Mapping[Way, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Way, float]:
    """The least time of each way in so many turns, after two to warm up (ms).

    The order changes from turn to turn, so that no way always meets the caches as the same other
    one left them. clock: `time.process_time` where ways that differ by little are told apart on a
    machine that others use too.

    >>> sorted(least_ms({"one": int, "two": float}, 3))
    ['one', 'two']
    """
    order, mixed = list(runs), random.Random(0)
    least = dict.fromkeys(order, float("inf"))
    for k in range(repeats + WARM_UP):
        mixed.shuffle(order)
        for way, ms in turn(runs, order, clock).items():
            if k >= WARM_UP:
                least[way] = min(least[way], ms)
    return least
