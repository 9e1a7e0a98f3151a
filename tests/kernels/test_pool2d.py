"""The native max-pool against torch's: maxima, choices among equals, every gradient."""

from __future__ import annotations

import math

import pytest
import torch

import spikegrad as sg
from spikegrad import functional as F
from spikegrad.kernels import cpu

pytestmark = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")

# T, B, C, H, W; kernel, stride, padding
CASES = [
    ((4, 2, 3, 6, 6), (2, 2), (2, 2), (0, 0)),
    ((1, 1, 2, 1, 5), (1, 3), (1, 2), (0, 1)),
    ((3, 1, 17, 7, 5), (3, 3), (2, 2), (1, 1)),
    ((2, 2, 33, 9, 4), (3, 2), (1, 1), (1, 0)),  # windows that overlap
    ((2, 1, 16, 9, 8), (2, 2), (4, 3), (0, 0)),  # pixels that no window sees
    ((1, 2, 5, 16, 16), (16, 16), (16, 16), (8, 8)),
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    import sys

    found: list[int] = []
    module = sys.modules["spikegrad.kernels.cpu.pool2d"]
    real = module.plain
    monkeypatch.setattr(module, "plain", lambda *a, **k: found.append(1) or real(*a, **k))
    return found


def last(x: torch.Tensor) -> torch.Tensor:
    return x.movedim(-3, -1).contiguous().movedim(-1, -3)


def outcome(function, x, **words):
    x = x.detach().requires_grad_()
    y = function(x, **words)
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return y.detach(), *torch.autograd.grad(y, x, gradient)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_torchs(calls, case, dtype: torch.dtype) -> None:
    shape, kernel, stride, padding = case
    words = {"kernel": kernel, "stride": stride, "padding": padding}
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        real = torch.randn(shape, generator=generator, dtype=dtype)
        odd = real.clone()
        odd[real > 0.5] = math.nan
        odd[real < -0.5] = -math.inf
        for x in (real, (real > 1.0).to(dtype), torch.zeros_like(real), odd):
            got = outcome(cpu.max_pool2d, last(x), **words)
            want = outcome(F.max_pool2d, x, **words)
            for a, b in zip(got, want, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    assert calls == []


def test_other_inputs_are_torchs(calls) -> None:
    x = torch.randn(3, 2, 4, 6, 6)
    words = {"kernel": (2, 2), "stride": (2, 2)}
    for other in (x, last(x).half(), x[..., ::2], x.transpose(0, 1)):
        assert torch.equal(cpu.max_pool2d(other, **words), F.max_pool2d(other, **words))
    assert len(calls) == 4
    with pytest.raises(RuntimeError):
        cpu.max_pool2d(last(x), kernel=(7, 2), stride=(2, 2))
    with pytest.raises(RuntimeError, match="pad"):
        cpu.max_pool2d(last(x), kernel=(2, 2), stride=(2, 2), padding=(2, 0))


def test_layers_take_it(calls) -> None:
    x = last(torch.randn(3, 2, 4, 7, 6))
    for words in ({}, {"stride": 1}, {"padding": 1}, {"ceil_mode": True}, {"dilation": 2}):
        layer, twin = sg.MaxPool2d(2, **words), torch.nn.MaxPool2d(2, **words)
        assert torch.equal(layer(x), twin(x.flatten(0, 1)).unflatten(0, (3, 2)))
        static = layer(F.direct(x[0], 3))
        assert static.stride(0) == 0
        assert torch.equal(static[2], twin(x[0]))
    assert calls == []


def test_results_do_not_depend_on_threads() -> None:
    x, words = last(torch.randn(6, 8, 20, 9, 9)), {"kernel": (3, 3), "stride": (2, 2)}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        want = outcome(cpu.max_pool2d, x, **words)
        torch.set_num_threads(2)
        got = outcome(cpu.max_pool2d, x, **words)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    finally:
        torch.set_num_threads(before)


def test_incoming_gradients_and_second_derivatives() -> None:
    x = last(torch.randn(2, 2, 3, 6, 5)).requires_grad_()
    words = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 1)}
    for reduce in (torch.sum, torch.mean, lambda y: (y.transpose(2, 4) ** 3).sum()):
        a = torch.autograd.grad(reduce(cpu.max_pool2d(x, **words)), x)[0]
        b = torch.autograd.grad(reduce(F.max_pool2d(x, **words)), x)[0]
        torch.testing.assert_close(a, b)
    found = []
    for pool in (cpu.max_pool2d, F.max_pool2d):
        (first,) = torch.autograd.grad((pool(x, **words) ** 3).sum(), x, create_graph=True)
        found.append(torch.autograd.grad((first**2).sum(), x)[0])
    torch.testing.assert_close(*found)
    assert found[0].abs().sum() > 0
    double = x.detach().double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: cpu.max_pool2d(x, **words), double)


def test_operators_pass_opcheck() -> None:
    x = torch.randn(2, 6, 5, 3, requires_grad=True)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    words = [2, 2, 2, 1, 1, 0]
    torch.library.opcheck(torch.ops.spikegrad.max_pool2d.default, (x, words), test_utils=tests)
    y, index = torch.ops.spikegrad.max_pool2d(x.detach(), words)
    operator, arguments = torch.ops.spikegrad.max_pool2d_backward, (y.requires_grad_(), index, 6, 5)
    torch.library.opcheck(operator.default, (*arguments, words), test_utils=tests)
    for wrong in [(y[:, :1], index, 6, 5), (y, index[:, :1], 6, 5), (y, index, 9, 5)]:
        with pytest.raises(RuntimeError, match="gradient"):
            operator(*wrong, words)
    with pytest.raises(RuntimeError, match="windows"):
        torch.ops.spikegrad.max_pool2d(x.detach(), [17, 17, 1, 1, 0, 0])
