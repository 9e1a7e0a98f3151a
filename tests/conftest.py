"""What every test starts from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from spikegrad.kernels import cpu
from spikegrad.kernels.cpu import crossover


@pytest.fixture(scope="session", autouse=True)
def _cautious_crossovers() -> None:
    """What was measured on this machine must not decide which way a test's products go."""
    cpu.load()
    crossover.adopt(Path("no table"), cpu.isa())


@pytest.fixture(autouse=True)
def _modes_come_back() -> Iterator[None]:
    """A test that leaves a mode of torch changed fails itself, not one that comes much later."""
    yield
    left = []
    if (torch.tensor([1e-39]) * 1.0).item() == 0.0:
        torch.set_flush_denormal(False)
        left.append("subnormal numbers are flushed")
    if torch.get_default_dtype() != torch.float32:
        torch.set_default_dtype(torch.float32)
        left.append("another default dtype")
    if not torch.is_grad_enabled():
        torch.set_grad_enabled(True)
        left.append("no gradients")
    assert not left, f"the test left a mode changed: {', '.join(left)}"
