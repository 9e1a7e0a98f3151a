"""Process-wide settings of torch for the length of a run, put back afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from spikegrad.train.config import RunConfig

__all__ = ["settings"]


@contextmanager
def settings(run: RunConfig) -> Iterator[None]:
    """Threads and deterministic algorithms as the config wants them.

    Deterministic algorithms are asked for with warnings only: an operation that has none runs, and
    torch names it. Memory is not filled, which would cost time and change nothing here.
    """
    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    try:
        if run.threads:
            torch.set_num_threads(run.threads)
        elif run.processes > 1:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // run.processes))
        if run.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
            memory.fill_uninitialized_memory = False
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warn)
        memory.fill_uninitialized_memory = fill
