"""Freed memory stays with the process: counted page faults, in processes of their own."""

from __future__ import annotations

import platform
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
faults = []
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in sizes:
        torch.zeros(size)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))  # the system may take pages back that nobody has read for a while
"""


GLIBC = tuple(map(int, platform.libc_ver()[1].split("."))) if platform.libc_ver()[1] else (0,)


@pytest.mark.skipif(GLIBC < (2, 35), reason="before glibc 2.35 no threshold is above 32 MiB")
def test_a_step_takes_what_the_step_before_freed() -> None:
    faults = {}
    for keep in (False, True):
        command = [sys.executable, "-c", PROGRAM.format(keep=keep)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        faults[keep] = int(done.stdout)
    assert faults[False] > 12_000_000 * 4 / 2**21  # at least a page of 2 MiB at a time
    assert faults[True] < faults[False] / 10


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False
