"""Process-wide settings of torch for the length of a run, put back afterwards."""

from __future__ import annotations

import dataclasses
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from spikegrad.errors import SpikegradWarning, UserError, message
from spikegrad.train.config import RunConfig
from spikegrad.train.launcher import machines

__all__ = ["check_threads", "deterministic", "for_measuring", "settings"]

_MOST = 4  # threads per core
_COMPILER = "TORCHINDUCTOR_DETERMINISTIC"


def check_threads(threads: int, processes: int = 1) -> None:
    """Refuse more than four threads for each core, which would starve the machine.

    threads: in each of the processes on this machine; 0 and 1 are right for any number of them.

    Raises:
        UserError: too many. More than one for each core is a SpikegradWarning.

    >>> check_threads(1)
    """
    if threads < 2:
        return
    cores = _cores()
    where = f"{cores} cores" + (f", with {processes} processes" if processes > 1 else "")
    right = max(1, cores // processes)
    most = max(1, _MOST * cores // processes)
    if threads > most:
        expected = f"expected threads <= {most}, four for each of {where}"
        raise UserError(message(expected, str(threads), f"use {right} or fewer"))
    if threads > right:
        warnings.warn(
            f"{threads} threads on {where} wait for each other; use {right} or fewer",
            SpikegradWarning,
            stacklevel=1,  # one place, so that it is said once: `train` checks, then `fit`
        )


def for_measuring(run: RunConfig) -> RunConfig:
    """The settings of a run where its network is only measured: in one process, on any machine."""
    return dataclasses.replace(run, processes=1, threads=min(run.threads, _cores()))


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def settings(run: RunConfig) -> Iterator[None]:
    """Threads and deterministic algorithms as the config wants them.

    Deterministic algorithms are asked for with warnings only: an operation that has none runs, and
    torch names it. Memory is not filled, which would cost time and change nothing here.
    """
    threads, compiler = torch.get_num_threads(), os.environ.get(_COMPILER)
    strict = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    try:
        if run.threads:
            torch.set_num_threads(min(run.threads, _MOST * _cores()))  # see check_threads
        elif run.processes > 1:
            here = run.processes // machines()
            torch.set_num_threads(max(1, _cores() // here))
        if run.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            os.environ[_COMPILER] = "1"
            deterministic(True, warn_only=True)
            memory.fill_uninitialized_memory = False
        yield
    finally:
        torch.set_num_threads(threads)
        if compiler is None:
            os.environ.pop(_COMPILER, None)
        else:
            os.environ[_COMPILER] = compiler
        deterministic(strict, warn_only=warn)
        memory.fill_uninitialized_memory = fill


def deterministic(mode: bool, *, warn_only: bool) -> None:
    """`torch.use_deterministic_algorithms`, which imports torch's compiler to tell it too, without
    that import: it takes longer than most measurements. A compiler that is imported later reads the
    environment, see `settings`.
    """
    if "torch._inductor.config" in sys.modules:
        torch.use_deterministic_algorithms(mode, warn_only=warn_only)
        return
    torch.set_deterministic_debug_mode(("warn" if warn_only else "error") if mode else "default")
