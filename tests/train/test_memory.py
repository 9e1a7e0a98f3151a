"""Freed memory stays with the process: counted page faults, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spikegrad.train import memory

PROGRAM = """
import resource
import torch
from spikegrad.train.memory import keep_freed_memory

assert not {keep} or keep_freed_memory()
sizes = [6_000_000, 12_000_000]  # below and above 32 MiB
for size in sizes:  # memory is taken once, by the largest
    torch.zeros(size)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    for size in sizes:
        torch.zeros(size)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is asked")
def test_a_step_takes_what_the_step_before_freed() -> None:
    if not hasattr(__import__("ctypes").CDLL(None), "mallopt"):
        pytest.skip("this C library is not glibc")
    faults = {}
    for keep in (False, True):
        command = [sys.executable, "-c", PROGRAM.format(keep=keep)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        faults[keep] = int(done.stdout)
    assert faults[False] > 5 * 12_000_000 * 4 / 2**21  # at least a page of 2 MiB at a time
    assert faults[True] < faults[False] / 10


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False
