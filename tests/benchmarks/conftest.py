"""`benchmarks` is beside the package, not installed: found from the root of the sources."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)


@pytest.fixture(autouse=True)
def _modes_of_a_process() -> Iterator[None]:
    """The programs set threads and the flushing of subnormal numbers for their whole process.

    Here that is the tests' own: left behind, the flushing failed a test of the kernels' modes in
    another folder, in whole runs of one process alone.
    """
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
