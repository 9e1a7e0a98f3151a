"""The product along the spikes against the dense one: values, gradients, choice, odd sizes.

Sums run in another order than in a dense product, hence 1e-5 relative to the size of a sum; with
dyadic numbers no order rounds, and results are equal bit for bit.
"""

from __future__ import annotations

import sys

import pytest
import torch

import spikegrad as sg
from spikegrad import functional as F
from spikegrad.kernels import choose, cpu
from spikegrad.kernels.cpu.linear import CROSSOVER, spikes_of

pytestmark = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")

module = sys.modules["spikegrad.kernels.cpu.linear"]  # the function of that name hides it
SHAPES = [(5, 3, 70, 65), (1, 1, 64, 64), (7, 2, 63, 1), (3, 5, 1, 130), (40, 40, 200, 20)]


@pytest.fixture(autouse=True)
def _all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALLEST", 0)
    monkeypatch.setattr(module, "CROSSOVER", 1.0)


def spikes(t: int, b: int, n: int, rate: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(t, b, n, generator=generator) < rate).float()


def outcome(function, x, weight, bias):
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    leaves = [x, weight]
    if bias is not None:
        bias = bias.clone().requires_grad_()
        leaves.append(bias)
    y = function(x, weight=weight, bias=bias)
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randint(-32, 32, y.shape, generator=generator).float() / 64
    return y.detach(), *torch.autograd.grad(y, leaves, gradient)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_dyadic_numbers_are_exact(shape, with_bias: bool, rate: float) -> None:
    t, b, i, n = shape
    generator = torch.Generator().manual_seed(2)
    weight = torch.randint(-64, 64, (n, i), generator=generator).float() / 64
    bias = torch.randint(-64, 64, (n,), generator=generator).float() / 64 if with_bias else None
    x = spikes(t, b, i, rate)
    assert spikes_of(x, weight) is not None
    got, want = outcome(cpu.linear, x, weight, bias), outcome(F.linear, x, weight, bias)
    for one, other in zip(got, want, strict=True):
        assert torch.equal(one, other)


def test_real_weights_within_rounding() -> None:
    x, weight, bias = spikes(50, 16, 300, 0.1), torch.randn(130, 300), torch.randn(130)
    got, want = outcome(cpu.linear, x, weight, bias), outcome(F.linear, x, weight, bias)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_results_do_not_depend_on_threads_or_runs() -> None:
    x, weight, bias = spikes(50, 16, 300, 0.1), torch.randn(500, 300), torch.randn(500)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        want = outcome(cpu.linear, x, weight, bias)
        torch.set_num_threads(2)
        for _ in range(3):
            got = outcome(cpu.linear, x, weight, bias)
            assert torch.equal(got[0], want[0])
            assert torch.equal(got[2], want[2])
            assert torch.equal(got[3], want[3])
    finally:
        torch.set_num_threads(before)


def test_what_is_no_spike_train_takes_the_dense_product() -> None:
    weight = torch.randn(8, 70)
    for value in (0.5, -1.0, 2.0, float("nan"), float("inf"), 1.0 + 1e-6):
        x = spikes(3, 2, 70, 0.1)
        x[2, 1, 69] = value
        assert spikes_of(x, weight) is None
        y = cpu.linear(x, weight=weight)
        torch.testing.assert_close(y, F.linear(x, weight=weight), equal_nan=True)
    x = spikes(3, 2, 70, 0.1)
    assert spikes_of(x.double(), weight.double()) is None
    assert spikes_of(x.bfloat16(), weight.bfloat16()) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert spikes_of(x, weight) is None
        assert cpu.linear(x, weight=weight).dtype == torch.bfloat16
    assert spikes_of(torch.zeros(1, 1, 65_537), torch.zeros(1, 65_537)) is None
    wide = torch.zeros(1, 1, 65_536)
    wide[0, 0, 65_535] = 1.0
    weight = torch.randn(3, 65_536)
    torch.testing.assert_close(cpu.linear(wide, weight=weight)[0, 0], weight[:, -1])


def test_the_choice_follows_the_number_of_spikes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CROSSOVER", CROSSOVER)
    weight = torch.zeros(4, 100)
    x = torch.zeros(10, 10, 100)
    x.view(-1)[: int(CROSSOVER * x.numel())] = 1.0
    assert spikes_of(x, weight) is not None
    x.view(-1)[: int(CROSSOVER * x.numel()) + 1] = 1.0
    assert spikes_of(x, weight) is None


def test_strides() -> None:
    weight = torch.randn(30, 40).t()[:, :20].t()  # not contiguous, [20, 40]
    x = spikes(40, 3, 6, 0.2).permute(2, 1, 0)
    torch.testing.assert_close(cpu.linear(x, weight=weight), F.linear(x, weight=weight))
    leaf = x.clone().requires_grad_()
    for reduce in (torch.sum, torch.mean):
        w = weight.clone().requires_grad_()
        got = torch.autograd.grad(reduce(cpu.linear(leaf, weight=w)), [leaf, w])
        want = torch.autograd.grad(reduce(F.linear(leaf, weight=w)), [leaf, w])
        torch.testing.assert_close(got, want)


def test_a_layer_takes_it_and_reference_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CROSSOVER", CROSSOVER)
    calls = []
    real = module.spikes_of
    monkeypatch.setattr(module, "spikes_of", lambda *a: calls.append(1) or real(*a))
    x = spikes(10, 4, 100, 0.05)
    fast, slow = sg.Linear(100, 20), sg.Linear(100, 20, backend="reference")
    slow.load_state_dict(fast.state_dict())
    torch.testing.assert_close(fast(x), slow(x))
    assert len(calls) == 1
    fast(F.direct(x[0], 10))  # static: one dense product, no look at the spikes
    assert len(calls) == 1
    assert choose("linear", "auto", x, {}).backend == "cpu"
    with pytest.raises(sg.UserError, match="unknown backend"):
        sg.Linear(3, 2, backend="gpu")


def test_a_second_backward_is_refused() -> None:
    x, weight = spikes(3, 2, 20, 0.2), torch.randn(4, 20, requires_grad=True)
    y = cpu.linear(x, weight=weight)
    (first,) = torch.autograd.grad((y * y).sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="backend='reference'"):
        torch.autograd.grad(first.sum(), weight)


def test_operators_pass_opcheck() -> None:
    x, weight = spikes(1, 6, 20, 0.2)[0].requires_grad_(), torch.randn(4, 20, requires_grad=True)
    lists, starts = torch.ops.spikegrad.pack(x.detach())
    torch.library.opcheck(
        torch.ops.spikegrad.events_linear.default,
        (x, lists, starts, weight, torch.randn(4, requires_grad=True)),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )
