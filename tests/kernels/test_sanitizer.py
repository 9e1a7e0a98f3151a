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
import ctypes
from dataclasses import replace
import torch
from spikegrad.functional.lif import LIF
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu import step_library
from spikegrad.kernels.cpu.prepare import prepared
assert cpu.load() == "", cpu.load()
record = LIF.surrogate
form = [LIF, record, record.family.content, "subtract", True, False, (), ()]
program = prepared("scan", *form, False, False).program  # each, double
library = ctypes.CDLL(str(step_library.built("lif", program.text, cpu.in_force())))
names = program.parameters[: len(program.parameters) - {missing}]
wrong = replace(program, parameters=names)
step_library.enter(12345, wrong, step_library.addresses(library, ""))
x, starts = torch.rand(2, 3, 64), torch.rand(1, 3, 64)
torch.ops.spikegrad.step_scan(12345, x, None, starts, torch.ones(len(names), 1), False, 0)
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
