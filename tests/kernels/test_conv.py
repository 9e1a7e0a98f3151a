"""The convolution along the spikes against torch's: values, gradients, choice, odd sizes.

Sums run in another order than in a dense convolution, hence 1e-5 relative to the size of a sum;
with dyadic numbers no order rounds, and results are equal bit for bit.
"""

from __future__ import annotations

import sys

import pytest
import torch

import spikegrad as sg
from spikegrad import functional as F
from spikegrad.kernels import choose, cpu
from spikegrad.kernels.cpu.conv import Shares, shares, spikes_of

pytestmark = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")

module = sys.modules["spikegrad.kernels.cpu.conv"]
LAST = (0, 1, 4, 2, 3)

# T, B, C, H, W; O, KH, KW; stride, padding
CASES = [
    ((4, 2, 3, 6, 5), (8, 3, 3), (1, 1), (1, 1)),
    ((1, 1, 1, 1, 5), (1, 1, 3), (1, 1), (0, 1)),
    ((3, 1, 16, 7, 7), (16, 3, 3), (2, 2), (1, 1)),
    ((2, 3, 65, 4, 9), (70, 2, 4), (1, 3), (0, 2)),
    ((2, 2, 33, 5, 1), (33, 5, 1), (1, 1), (2, 0)),
    ((2, 1, 130, 3, 3), (17, 1, 1), (1, 1), (0, 0)),
    ((1, 2, 4, 5, 6), (5, 3, 3), (1, 1), (4, 3)),  # padding wider than the kernel
    ((1, 2, 4, 9, 8), (5, 3, 2), (2, 1), (0, 0)),  # rows that no window sees
    ((1, 1, 200, 9, 60), (3, 3, 3), (1, 1), (1, 1)),  # several bands of rows
    ((1, 1, 1, 3, 700), (20, 2, 5), (1, 1), (0, 2)),  # a row in several pieces, taps in two groups
    ((30, 10, 2, 4, 4), (3, 3, 3), (1, 1), (1, 1)),  # many images in a piece, fewer in the last
    ((2, 2, 3, 7, 6), (5, 1, 1), (2, 3), (0, 0)),  # pixels that no tap meets
    ((2, 1, 3, 8, 11), (6, 5, 7), (2, 3), (2, 3)),  # phases with different numbers of taps
]


@pytest.fixture(autouse=True)
def _all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALLEST", 0)
    monkeypatch.setattr(module, "shares", lambda *_: Shares(1.0, 1.0))


def spikes(shape, rate: float, *, last: bool = False, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(shape, generator=generator) < rate).float()
    return x.permute(0, 1, 3, 4, 2).contiguous().permute(LAST) if last else x


def dyadic(*shape: int, seed: int = 2, share: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-64, 64, shape, generator=generator).float() / 64
    return values * (torch.rand(shape, generator=generator) < share)


def outcome(function, x, weight, bias, *, share: float = 1.0, last: bool = False, **words):
    x, weight = x.detach().requires_grad_(), weight.clone().requires_grad_()
    leaves = [x, weight]
    if bias is not None:
        bias = bias.clone().requires_grad_()
        leaves.append(bias)
    y = function(x, weight=weight, bias=bias, **words)
    gradient = dyadic(*y.shape, seed=1, share=share)
    if last:
        gradient = gradient.permute(0, 1, 3, 4, 2).contiguous().permute(LAST)
    return y.detach(), *torch.autograd.grad(y, leaves, gradient)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize(
    "rate", [0.0, 0.01, 0.05, 0.2, 1.0]
)  # few events are spread, many gathered
@pytest.mark.parametrize("case", CASES, ids=str)
def test_dyadic_numbers_are_exact(case, rate: float, last: bool) -> None:
    shape, (outputs, kh, kw), stride, padding = case
    weight = dyadic(outputs, shape[2], kh, kw)
    x = spikes(shape, rate, last=last)
    assert spikes_of(x.flatten(0, 1), weight, stride, padding) is not None
    for bias in (dyadic(outputs), None):
        for share in (0.1, 1.0):
            words = {"stride": stride, "padding": padding, "share": share, "last": last}
            got = outcome(cpu.conv2d, x, weight, bias, **words)
            want = outcome(F.conv2d, x, weight, bias, **words)
            for one, other in zip(got, want, strict=True):
                assert torch.equal(one, other)


def test_real_weights_within_rounding() -> None:
    x, weight, bias = spikes((5, 4, 32, 14, 14), 0.1), torch.randn(64, 32, 3, 3), torch.randn(64)
    got = outcome(cpu.conv2d, x, weight, bias, padding=(1, 1))
    want = outcome(F.conv2d, x, weight, bias, padding=(1, 1))
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_results_do_not_depend_on_threads_or_runs() -> None:
    x, weight, bias = spikes((5, 8, 20, 9, 9), 0.2), torch.randn(40, 20, 3, 3), torch.randn(40)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        want = outcome(cpu.conv2d, x, weight, bias, padding=(1, 1))
        torch.set_num_threads(2)
        for _ in range(3):
            got = outcome(cpu.conv2d, x, weight, bias, padding=(1, 1))
            assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    finally:
        torch.set_num_threads(before)


def test_strides_of_inputs_and_gradients() -> None:
    weight = torch.randn(6, 5, 3, 3).permute(0, 1, 3, 2)  # not contiguous
    wide = spikes((4, 2, 5, 8, 14), 0.3)
    for x in (wide[..., ::2], wide[:, :, :, 1:, 3:10], wide.flip(2), wide.transpose(0, 1)):
        leaf = x.detach().requires_grad_()
        for reduce in (torch.sum, torch.mean):  # the incoming gradient is expanded
            w = weight.clone().requires_grad_()
            y, twin = cpu.conv2d(leaf, weight=w), F.conv2d(leaf, weight=w)
            torch.testing.assert_close(y, twin)
            got = torch.autograd.grad(reduce(y), [leaf, w])
            want = torch.autograd.grad(reduce(twin), [leaf, w])
            torch.testing.assert_close(got, want)


def test_what_is_no_spike_train_takes_the_dense_convolution() -> None:
    weight, plain = torch.randn(8, 3, 3, 3), ((1, 1), (1, 1))
    for last in (False, True):
        for value in (0.5, -1.0, 2.0, float("nan"), float("inf"), 1.0 + 1e-6):
            x = spikes((3, 2, 3, 5, 4), 0.1, last=last)
            x[2, 1, 2, 4, 3] = value
            assert spikes_of(x.flatten(0, 1), weight, *plain) is None
            y = cpu.conv2d(x, weight=weight)
            torch.testing.assert_close(y, F.conv2d(x, weight=weight), equal_nan=True)
    rows = spikes((3, 2, 3, 5, 4), 0.1).flatten(0, 1)
    assert spikes_of(rows.double(), weight.double(), *plain) is None
    assert spikes_of(rows.bfloat16(), weight.bfloat16(), *plain) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert spikes_of(rows, weight, *plain) is None
        assert cpu.conv2d(rows[None], weight=weight).dtype == torch.bfloat16
    assert spikes_of(rows[:, :, :1], weight, (1, 1), (0, 0)) is None  # torch says what is wrong
    with pytest.raises(RuntimeError, match="ernel size"):
        cpu.conv2d(rows[None, :, :, :1], weight=weight)


@pytest.mark.parametrize(
    "words",
    [
        {"groups": 3},
        {"dilation": (2, 1), "padding": (2, 2)},
        {"padding": "same"},
        {"padding": (1, 1), "stride": (2, 1)},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_convolutions_are_torchs(words, dtype: torch.dtype) -> None:
    x = spikes((3, 2, 3, 7, 6), 0.3).to(dtype)
    weight = dyadic(6, 3 // words.get("groups", 1), 3, 3).to(dtype)
    got = outcome(cpu.conv2d, x, weight, None, **words)
    want = outcome(F.conv2d, x, weight, None, **words)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other)


def test_the_choices_follow_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "shares", shares)
    weight = torch.zeros(4, 10, 1, 1)
    rows = torch.zeros(10, 10, 4, 4)
    most = int(shares(10, 4).spikes * rows.numel())
    rows.view(-1)[:most] = 1.0
    assert spikes_of(rows, weight, (1, 1), (0, 0)) is not None
    rows.view(-1)[: most + 1] = 1.0
    assert spikes_of(rows, weight, (1, 1), (0, 0)) is None

    calls = []
    real = torch.ops.aten.convolution_backward
    monkeypatch.setattr(
        torch.ops.aten, "convolution_backward", lambda *a: calls.append(1) or real(*a)
    )
    x, weight = spikes((2, 4, 32, 6, 6), 0.1), dyadic(5, 32, 3, 3)
    assert shares(32, 5).spikes > x.count_nonzero() / x.numel()  # on every instruction set
    for share, dense in ((0.1, 0), (1.0, 1)):
        calls.clear()
        got = outcome(cpu.conv2d, x, weight, None, share=share)
        assert len(calls) == dense
        want = outcome(F.conv2d, x, weight, None, share=share)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_a_dense_input_gradient_has_its_channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else torch computes in another layout, and all that reads the gradient copies it."""
    monkeypatch.setattr(module, "shares", lambda *_: Shares(1.0, -1.0))
    x, weight = spikes((2, 4, 8, 6, 6), 0.2, last=True).requires_grad_(), dyadic(5, 8, 3, 3)
    y = cpu.conv2d(x, weight=weight, padding=(1, 1))
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert dx.permute(0, 1, 3, 4, 2).is_contiguous()


def test_a_layer_takes_it_and_reference_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = module.spikes_of
    monkeypatch.setattr(module, "spikes_of", lambda *a: calls.append(1) or real(*a))
    x = spikes((5, 2, 3, 6, 6), 0.1)
    fast, slow = sg.Conv2d(3, 8, 3), sg.Conv2d(3, 8, 3, backend="reference")
    slow.load_state_dict(fast.state_dict())
    torch.testing.assert_close(fast(x), slow(x))
    assert len(calls) == 1
    static = fast(F.direct(x[0], 5))
    assert static.stride(0) == 0
    torch.testing.assert_close(static, slow(F.direct(x[0], 5)))
    assert choose("conv2d", "auto", x, {}).backend == "cpu"
    assert choose("conv2d", "auto", x.to("meta"), {}).backend == "reference"
    with pytest.raises(sg.UserError, match="unknown backend"):
        sg.Conv2d(3, 2, 3, backend="gpu")
    mirrored = sg.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
    assert mirrored(x).shape == (5, 2, 8, 6, 6)
    assert len(calls) == 2


def test_transforms_take_the_reference() -> None:
    x, layer = spikes((3, 2, 3, 6, 6), 0.2), sg.Conv2d(3, 4, 3)
    weights = dict(layer.named_parameters())

    def loss(weights):
        return torch.func.functional_call(layer, weights, (x,)).square().sum()

    gradients = torch.func.grad(loss)(weights)
    loss(weights).backward()
    for name, p in layer.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad)


def test_a_second_backward_is_refused() -> None:
    x, weight = spikes((3, 2, 3, 6, 6), 0.2), torch.randn(4, 3, 3, 3, requires_grad=True)
    y = cpu.conv2d(x, weight=weight)
    (first,) = torch.autograd.grad((y * y).sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="backend='reference'"):
        torch.autograd.grad(first.sum(), weight)


def bits_of(x: torch.Tensor) -> torch.Tensor:
    """Spikes `[R, C, H, W]` as words `[R, H, W, words]`."""
    last = x.detach().permute(0, 2, 3, 1).contiguous()
    return torch.ops.spikegrad.pack(last.flatten(1, 2))[0].unflatten(1, last.shape[1:3])


def test_operators_pass_opcheck() -> None:
    x = spikes((1, 2, 3, 6, 6), 0.2)[0].requires_grad_()
    weight, bias = torch.randn(4, 3, 3, 3, requires_grad=True), torch.randn(4, requires_grad=True)
    bits = bits_of(x)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    arguments = (x, bits, weight, bias, [2, 1, 1, 0])
    torch.library.opcheck(torch.ops.spikegrad.events_conv2d.default, arguments, test_utils=tests)
    gradient = torch.randn(2, 4, 4, 4)
    around, plain = weight.detach().transpose(0, 1).contiguous(), [1, 1, 0, 0]
    for operator, arguments in (
        (torch.ops.spikegrad.values_conv2d, (gradient, around, plain)),
        (torch.ops.spikegrad.events_conv2d_weight, (bits, gradient, weight.detach(), plain)),
    ):
        torch.library.opcheck(operator.default, arguments, test_utils=("test_schema",))


def test_errors_of_the_operators() -> None:
    bits = bits_of(spikes((1, 2, 3, 6, 6), 0.2)[0])
    weight = torch.randn(4, 3, 3, 3)
    operators = torch.ops.spikegrad
    good = (weight, bits, weight, None, [1, 1, 0, 0])
    for at, wrong, words in [
        (2, weight[:, :, :2], "contiguous"),
        (2, weight.double(), "float32"),
        (2, weight[0], "O, C, KH, KW"),
        (2, torch.randn(4, 70, 3, 3), "disagree"),
        (2, torch.randn(4, 3, 9, 3), "fit"),
        (3, torch.randn(3), "bias"),
        (3, torch.randn(4).double(), "bias"),
        (4, [0, 1, 0, 0], "positive"),
        (4, [1, 1, 0], "positive"),
        (4, [2, 1, -1, 0], "negative"),
    ]:
        with pytest.raises(RuntimeError, match=words):
            operators.events_conv2d(*good[:at], wrong, *good[at + 1 :])
    with pytest.raises(RuntimeError, match="disagree"):
        operators.events_conv2d_weight(bits, torch.randn(2, 5, 4, 4), weight, [1, 1, 0, 0])
    with pytest.raises(RuntimeError, match="gradient"):
        operators.values_conv2d(torch.randn(2, 4, 4, 5), weight, [1, 1, 0, 0])
