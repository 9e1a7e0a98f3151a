"""No leak over a thousand steps: the pool by its counter, the rest by resident memory."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator

import psutil
import pytest
import torch
from native import needs_kernels, threads
from scans import lif

import spikegrad as sg
from spikegrad import surrogate as S
from spikegrad.kernels import cpu

pytestmark = needs_kernels

STEPS = 1000
MOST_GROWTH = 24 << 20  # bytes; one leaked buffer a step would be a thousand times 64 KB or more


@pytest.fixture(autouse=True)
def _empty_pool() -> Iterator[None]:
    gc.collect()
    torch.ops.spikegrad.pool_trim()
    with threads(1):
        yield
    torch.ops.spikegrad.pool_trim()


def train_step(lean: bool) -> Callable[[], None]:
    network = sg.Sequential(
        sg.Linear(64, 128),
        sg.LIF(8.0, surrogate=S.triangle(1.0), learn="threshold"),
        sg.Linear(128, 64),
        sg.Recurrent(sg.ALIF(8.0, tau_adapt=20.0, refractory=1.0), 64),
        sg.Linear(64, 10),
        sg.LI(20.0),
        lean=lean,
    )
    x = (torch.rand(8, 32, 64) < 0.1).float()

    def step() -> None:
        y, _ = network(x)
        y.square().mean().backward()
        network.zero_grad()

    return step


def resident() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


@pytest.mark.skipif(
    "-fsanitize" in os.environ.get("SPIKEGRAD_CXXFLAGS", ""), reason="a sanitizer keeps memory"
)
@pytest.mark.parametrize("lean", [False, True])
def test_resident_memory_stays(lean: bool) -> None:
    """A step makes some forty buffers of 16 KB to 512 KB, all of torch's allocator and Scratch."""
    step = train_step(lean)
    for _ in range(STEPS // 5):
        step()
    before = resident()
    for _ in range(STEPS):
        step()
    assert resident() - before < MOST_GROWTH


def large(lean: bool, *, forward_only: bool = False) -> Callable[[], None]:
    """A layer whose buffers are the pool's."""
    x = (torch.rand(8, 32, 64) < 0.02).float()
    weight = torch.randn(1100, 64, requires_grad=True)
    beta = torch.tensor(0.5, requires_grad=True)

    def step() -> None:
        y, _ = cpu.layer(x, weight=weight, neuron="lif", args={"beta": beta}, lean=lean)
        if not forward_only:
            torch.autograd.grad(y.sum(), [weight, beta])

    return step


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("forward_only", [False, True])
def test_every_buffer_of_the_pool_comes_back(lean: bool, forward_only: bool) -> None:
    step = large(lean, forward_only=forward_only)
    step()
    gc.collect()
    live, idle = torch.ops.spikegrad.pool_bytes()
    for _ in range(STEPS // 4):
        step()
    gc.collect()
    assert torch.ops.spikegrad.pool_bytes()[0] == live
    assert torch.ops.spikegrad.pool_bytes()[1] <= idle + (4 << 20)


def test_the_pool_counts_what_is_out() -> None:
    before = torch.ops.spikegrad.pool_bytes()[0]
    kept, _ = lif(torch.rand(8, 32, 1100), beta=0.5)
    assert torch.ops.spikegrad.pool_bytes()[0] - before >= kept.nbytes
    del kept
    gc.collect()
    assert torch.ops.spikegrad.pool_bytes()[0] == before
    torch.ops.spikegrad.pool_trim()
    assert torch.ops.spikegrad.pool_bytes()[1] == 0


def test_errors_leak_nothing() -> None:
    """A call that is refused, and a graph that is dropped without a backward pass."""
    x, weight = torch.rand(8, 32, 64), torch.randn(1100, 64, requires_grad=True)
    args = {"beta": 0.5}
    gc.collect()
    before = torch.ops.spikegrad.pool_bytes()[0]
    for _ in range(20):
        with pytest.raises(RuntimeError, match="bias"):
            cpu.layer(x, weight=weight, bias=torch.zeros(3), neuron="lif", args=args)
        cpu.layer(x, weight=weight, neuron="lif", args=args)
        y, _ = cpu.layer(x, weight=weight, neuron="lif", args=args)
        (first,) = torch.autograd.grad(y.sum(), weight, create_graph=True)
        with pytest.raises(RuntimeError, match="second"):
            torch.autograd.grad(first.sum(), weight)
        del y, first, _
    gc.collect()
    assert torch.ops.spikegrad.pool_bytes()[0] == before


def test_poison_fills_every_buffer() -> None:
    """That the other tests' NaN are there at all: what nobody wrote is NaN, small or large."""
    for n in (3, 1100):
        torch.ops.spikegrad.pool_poison(True)
        try:
            x = torch.zeros(40, 32, n)
            x[0, 0, 0] = 0.5  # no spikes: packing stops at once, the rest of its words stay
            out = torch.ops.spikegrad.pack(x)
        finally:
            torch.ops.spikegrad.pool_poison(False)
        assert out[1].item() == -1
        assert (out[0][1:] == -1).any()
