"""Kernels flush subnormal numbers; the mode of every thread that they ran on comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from native import forced, needs_kernels, threads
from scans import alif, lif

from spikegrad import functional as F
from spikegrad import surrogate as S
from spikegrad.kernels import cpu

pytestmark = needs_kernels

TINY = 1e-39  # subnormal in float32


def kept() -> bool:
    """Whether subnormal numbers are numbers, on this thread and on torch's workers."""
    many = torch.full((1 << 18,), TINY)
    return bool((torch.tensor([TINY]) * 1.0).item() > 0.0 and ((many * 1.0) > 0).all())


def scan() -> None:
    x = torch.rand(6, 40, 700, requires_grad=True)
    lif(x, beta=0.5)[0].sum().backward()


def slow_scan() -> None:
    x = torch.rand(6, 40, 700, requires_grad=True)
    beta = torch.tensor(0.5, requires_grad=True)
    alif(x, beta=beta, rho=0.9, surrogate=S.sigmoid(4.0))[0].sum().backward()


def layer(feedback: bool = False) -> None:
    x = (torch.rand(6, 70, 130) < 0.2).float()
    weight = torch.randn(130, 130, requires_grad=True)
    back = weight if feedback else None
    args = {"beta": 0.5, "surrogate": S.triangle(1.0)}
    for route in ("events", "dense"):
        with forced(route):
            y, _ = cpu.layer(x, weight=weight, feedback=back, neuron="lif", args=args)
            y.sum().backward()


def linear() -> None:
    x = (torch.rand(6, 70, 130) < 0.2).float().requires_grad_()
    cpu.linear(x, weight=torch.randn(70, 130, requires_grad=True)).square().sum().backward()


def convolution() -> None:
    x = (torch.rand(6, 8, 4, 16, 16) < 0.1).float().requires_grad_()
    weight = torch.randn(32, 4, 3, 3, requires_grad=True)
    y = cpu.conv2d(x, weight=weight)
    cpu.max_pool2d(y, kernel=(2, 2), stride=(2, 2)).sum().backward()


def pool() -> None:
    x = torch.rand(6, 8, 4, 16, 16, requires_grad=True)
    args = {"surrogate": S.arctan(2.0), "beta": 0.5}
    cpu.spike_pool(x, steps=6, kernel=(2, 2), neuron="lif", args=args)[0].sum().backward()


def refused() -> None:
    """Messages from within: the kernel had begun."""
    good = torch.rand(4, 2, 3)
    for wrong in (good.half(), good[..., ::2]):
        with pytest.raises(RuntimeError, match="spikegrad kernel"):
            torch.ops.spikegrad.linear(wrong, None, None, good[0], None, [0.5] * 3, None)


CALLS: list[Callable[[], Any]] = [
    scan,
    slow_scan,
    layer,
    lambda: layer(feedback=True),
    linear,
    convolution,
    pool,
    refused,
]
NAMES = ["scan", "slow", "layer", "feedback", "linear", "convolution", "pool", "refused"]


@pytest.fixture(params=[1, 2])
def count(request: pytest.FixtureRequest) -> Iterator[int]:
    with threads(request.param):
        yield request.param


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_the_mode_comes_back(call: Callable[[], Any], count: int) -> None:
    assert kept()
    call()
    assert kept()


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_a_caller_that_flushes_goes_on_flushing(call: Callable[[], Any]) -> None:
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush")
    try:
        call()
        assert (torch.tensor([TINY]) * 1.0).item() == 0.0
    finally:
        torch.set_flush_denormal(False)
    assert kept()


def test_a_thread_of_the_users_own_keeps_its_mode() -> None:
    found = []

    def work() -> None:
        scan()
        layer()
        found.append(kept())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [True]
    assert kept()


def test_parameters_that_calls_share_are_on_the_cpu_under_any_default_device() -> None:
    """They were on meta, then and in every later call, and the outputs were memory as it was."""
    x, weight = torch.rand(4, 2, 3) * 2, torch.rand(5, 3)
    want, whole = F.lif(x, beta=0.123)[0], F.lif(F.linear(x, weight=weight), beta=0.123)[0]

    def check() -> None:
        y, _ = lif(x, beta=0.123)
        z, _ = cpu.layer(x, weight=weight, neuron="lif", args={"beta": 0.123})
        torch.testing.assert_close((y, z), (want, whole))

    with torch.device("meta"):
        check()
    check()
