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
from spikegrad.kernels import cpu
assert cpu.load() == "", cpu.load()
u, params, slope = torch.rand(2, 3, 64), torch.rand(10, 1), torch.ones(1)
a = torch.zeros({size})
torch.ops.spikegrad.scan_backward(
    None, None, None, None, None, u, None, a, None, None, None, None, None, params, slope, slope,
    None, [2, 3, 64], False, [6, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0], [0.0] * 5 + [1.0] * 2,
)
print("survived")
"""


def ran(size: int) -> subprocess.CompletedProcess[str]:
    """What a forward pass keeps, in a given size: none checks what nobody else makes."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(size=size)], capture_output=True, text=True
    )


@needs_kernels
def test_the_call_itself_is_right() -> None:
    done = ran(2 * 3 * 64)
    assert done.stdout == "survived\n", done.stderr


@needs_sanitizer
def test_a_read_behind_the_end_is_caught() -> None:
    done = ran(2 * 3 * 64 - 1)
    assert "survived" not in done.stdout
    assert "heap-buffer-overflow" in done.stderr
