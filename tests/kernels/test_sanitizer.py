"""That `make sanitize` sees anything: a call that reads beyond its memory must not survive."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from native import needs_kernels

SANITIZED = "-fsanitize=address" in os.environ.get("SPIKEGRAD_CXXFLAGS", "")
needs_sanitizer = pytest.mark.skipif(not SANITIZED, reason="runs under make sanitize alone")

PROGRAM = """
import torch
from spikegrad.functional.lif import LIF
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu.step import prepared
assert cpu.load() == "", cpu.load()
record = LIF.surrogate
form = [LIF, record, record.family.content, "subtract", True, False, (), ()]
what = [*form, False, False, True, False]  # each, double, keep, lean
made = prepared(*what)
x, starts = torch.rand(2, 3, 64), torch.rand(1, 3, 64)
params = torch.ones(len(made.parameters) - {missing}, 1)
torch.ops.spikegrad.step_scan(made.key, x, starts, params, list(made.words))
print("survived")
"""


def ran(missing: int) -> subprocess.CompletedProcess[str]:
    """Parameters without the last ones: how many there are, the generated program alone knows."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(missing=missing)], capture_output=True, text=True
    )


@needs_kernels
def test_the_call_itself_is_right() -> None:
    done = ran(0)
    assert done.stdout == "survived\n", done.stderr


@needs_sanitizer
def test_a_read_behind_the_end_is_caught() -> None:
    done = ran(1)
    assert "survived" not in done.stdout
    assert "heap-buffer-overflow" in done.stderr
