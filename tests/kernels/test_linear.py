"""The product along the spikes against the dense one: values, gradients, choice, odd sizes.

Sums run in another order than in a dense product, hence 1e-5 relative to the size of a sum; with
dyadic numbers no order rounds, and results are equal bit for bit.
"""

from __future__ import annotations

import pytest
import torch
from native import forced, needs_kernels, poisoned, threads

import spikegrad as sg
from spikegrad import functional as F
from spikegrad import surrogate as S
from spikegrad.kernels import choose, cpu
from spikegrad.kernels.cpu.crossover import PRODUCTS, Table, followed, using

pytestmark = needs_kernels

SHAPES = [(5, 3, 70, 65), (1, 1, 64, 64), (7, 2, 63, 1), (3, 5, 1, 130), (40, 40, 200, 20)]
EVENTS, DENSE = 1, 0


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
    gradient = torch.randint(-32, 32, y.shape, generator=generator).to(y.dtype) / 64
    return y.detach(), *torch.autograd.grad(y, leaves, gradient)


def chosen(x: torch.Tensor, weight: torch.Tensor) -> tuple[int, int, int]:
    """What the forward product did, how many ones it counted, and of other numbers how many that
    are not 0 (-1: it did not).
    """
    witness: list = []
    cpu.linear(x, weight=weight, witness=witness)
    route, ones, nonzeros, _ = witness[0][0].tolist()
    return route, ones, nonzeros


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_dyadic_numbers_are_exact(shape, with_bias: bool, rate: float, dtype: torch.dtype) -> None:
    t, b, i, n = shape
    generator = torch.Generator().manual_seed(2)
    weight = torch.randint(-64, 64, (n, i), generator=generator).to(dtype) / 64
    bias = torch.randint(-64, 64, (n,), generator=generator).to(dtype) / 64 if with_bias else None
    x = spikes(t, b, i, rate).to(dtype)
    want = outcome(F.linear, x, weight, bias)
    for route in ("events", "dense"):
        with forced(route), poisoned():
            got = outcome(cpu.linear, x, weight, bias)
        for one, other in zip(got, want, strict=True):
            assert torch.equal(one, other)


def test_real_weights_within_rounding() -> None:
    x, weight, bias = spikes(50, 16, 300, 0.1), torch.randn(130, 300), torch.randn(130)
    with forced("events"), poisoned():
        got = outcome(cpu.linear, x, weight, bias)
    for one, other in zip(got, outcome(F.linear, x, weight, bias), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_results_do_not_depend_on_threads_or_runs() -> None:
    x, weight, bias = spikes(50, 16, 300, 0.1), torch.randn(500, 300), torch.randn(500)
    with forced("events"):
        with threads(1):
            want = outcome(cpu.linear, x, weight, bias)
        with threads(2):
            for _ in range(3):
                got = outcome(cpu.linear, x, weight, bias)
                for k in (0, 2, 3):  # the input's gradient is torch's own product
                    assert torch.equal(got[k], want[k])


def test_other_numbers_are_followed_where_they_are_not_0() -> None:
    weight = torch.randn(32, 70)
    for value in (0.5, -1.0, 2.0, float("nan"), float("inf"), 1.0 + 1e-6):
        x = spikes(3, 2, 70, 0.1)
        x[2, 1, 69] = value
        for route, went in [("events", EVENTS), ("dense", DENSE)]:
            with forced(route), poisoned():
                count = int((x != 0).sum()) if went == EVENTS else -1
                assert chosen(x, weight) == (went, -1, count)
                y = cpu.linear(x, weight=weight)
            torch.testing.assert_close(y, F.linear(x, weight=weight), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [*SHAPES, (3, 150, 130, 70)])
@pytest.mark.parametrize("static", [False, True])
def test_scaled_numbers_are_exact(shape, static: bool, dtype: torch.dtype) -> None:
    """Multiples of 1/4, most of them 0: no sum rounds, so either way gives the same bits."""
    t, b, i, n = shape
    generator = torch.Generator().manual_seed(3)
    weight = torch.randint(-64, 64, (n, i), generator=generator).to(dtype) / 64
    scale = torch.randint(-4, 5, (1 if static else t, b, i), generator=generator) / 4
    rows = (spikes(1 if static else t, b, i, 0.3) * scale).to(dtype)

    def along(function, x, weight, bias):
        return outcome(function, x.expand(t, b, i), weight, bias)

    for one_thread in (True, False):
        with threads(1 if one_thread else 2):
            for route in ("events", "dense"):
                with forced(route), poisoned():
                    got = along(cpu.linear, rows, weight, weight[:, 0])
                for one, other in zip(
                    got, along(F.linear, rows, weight, weight[:, 0]), strict=True
                ):
                    assert torch.equal(one, other)


def test_minus_zero_is_no_spike() -> None:
    weight = torch.randn(3, 2)
    x = torch.tensor([[[-0.0, 1.0]]])
    assert chosen(x, weight)[1] == 1
    torch.testing.assert_close(cpu.linear(x, weight=weight), F.linear(x, weight=weight))


def test_half_types_and_autocast_are_torchs() -> None:
    x, weight = spikes(3, 2, 70, 0.1), torch.randn(8, 70)
    for dtype in (torch.bfloat16, torch.float16):
        why = choose("linear", "auto", x.to(dtype), {"weight": weight.to(dtype)})
        assert (why.backend, "torch computes products of" in why.reason) == ("reference", True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert choose("linear", "auto", x, {"weight": weight}).backend == "reference"
        assert sg.Linear(70, 8)(x).dtype == torch.bfloat16
    assert choose("linear", "auto", x, {"weight": weight.double()}).backend == "reference"
    assert sg.Linear(70, 8).bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_a_column_number_has_16_bits() -> None:
    """65,536 inputs are followed to the last one, more are not."""
    weight = torch.randn(3, 65_536)
    wide = torch.zeros(2, 1, 65_536)
    wide[0, 0, 65_535] = wide[1, 0, 0] = 1.0
    with forced("events"):
        assert chosen(wide, weight)[:2] == (EVENTS, 2)
        got = outcome(cpu.linear, wide, weight, None)
    for a, b in zip(got, outcome(F.linear, wide, weight, None), strict=True):
        torch.testing.assert_close(a, b)
    weight, wide = torch.randn(3, 65_537), torch.zeros(1, 1, 65_537)
    wide[0, 0, 65_536] = 1.0
    with forced("events"):
        assert chosen(wide, weight)[0] == DENSE
        got = outcome(cpu.linear, wide, weight, None)
    for a, b in zip(got, outcome(F.linear, wide, weight, None), strict=True):
        torch.testing.assert_close(a, b)


def test_spikes_beyond_16_bits_are_multiplied_as_numbers() -> None:
    """Spikes that come as bits, one of them where a column number would begin again."""
    x = torch.zeros(3, 1, 65_600)
    x[0, 0, 65_599] = x[1, 0, 63] = 1.0
    weight = torch.randint(-9, 9, (40, 65_600)).float().requires_grad_()
    bits = cpu.packed(x)
    assert bits is not None
    gradient = torch.randint(-9, 9, (3, 1, 40)).float()
    with forced("events"), poisoned():
        y = cpu.linear(bits, weight=weight)
        (got,) = torch.autograd.grad(y, weight, gradient)
    want = F.linear(x, weight=weight)
    assert torch.equal(y, want)
    assert torch.equal(got, torch.autograd.grad(want, weight, gradient)[0])


@pytest.mark.parametrize("shape", [(1, 8, 100, 256), (1, 1, 100, 256), (7, 1, 100, 256)])
def test_a_gradient_that_is_the_same_in_every_sample(shape: tuple[int, ...]) -> None:
    """Rows of no distance: what a sum over the batch hands down."""
    t, b, i, n = shape
    x, weight = spikes(t, b, i, 0.05), torch.randn(n, i).requires_grad_()
    for gradient in (torch.randn(n).expand(t, b, n), torch.randn(t, 1, n).expand(t, b, n)):
        with forced("events"), poisoned():
            (got,) = torch.autograd.grad(cpu.linear(x, weight=weight), weight, gradient)
        (want,) = torch.autograd.grad(F.linear(x, weight=weight), weight, gradient)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_a_bias_alone_and_its_sum_do_not_depend_on_the_layout() -> None:
    """A weight that is frozen; the same numbers in rows that lie further apart."""
    x, weight = spikes(60, 40, 30, 0.2), torch.randn(300, 30)
    bias = torch.randn(600)[::2].requires_grad_()
    wide = torch.randn(60, 40, 2000)
    incoming = wide[..., :300].contiguous()
    sums = []
    for gradient in (incoming, wide[..., :300]):
        with forced("events"), poisoned():
            y = cpu.linear(x, weight=weight, bias=bias)
            sums.append(torch.autograd.grad(y, bias, gradient)[0])
    assert torch.equal(*sums)
    torch.testing.assert_close(sums[0], incoming.sum((0, 1)), rtol=1e-4, atol=1e-4)


def test_more_outputs_than_16_bits() -> None:
    weight = torch.randn(65_600, 2)
    x = spikes(2, 2, 2, 0.5)
    with forced("events"):
        got = outcome(cpu.linear, x, weight, None)
    for a, b in zip(got, outcome(F.linear, x, weight, None), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_the_choice_follows_the_number_of_spikes() -> None:
    with using(Table("here", (1,), dict.fromkeys(PRODUCTS, ((0.15,),)))):
        choice_at_15_percent()


def choice_at_15_percent() -> None:
    weight = torch.zeros(32, 100)
    x = torch.zeros(10, 10, 100)
    x.view(-1)[:1500] = 1.0
    assert chosen(x, weight) == (EVENTS, 1500, -1)
    x.view(-1)[1500] = 1.0
    assert chosen(x, weight) == (DENSE, 1501, -1)
    numbers = x / 2
    limit = 1500 * 100 // 116  # 100 rows, and what turning the weight around costs
    numbers.view(-1)[limit:] = 0
    assert chosen(numbers, weight) == (EVENTS, -1, limit)
    assert followed("forward", limit / x.numel(), 0.15, 100, (100, 32))
    assert followed("weight", (limit + 1) / x.numel(), 0.15, 100, (100, 32))
    numbers.view(-1)[limit] = 0.5
    assert chosen(numbers, weight) == (DENSE, -1, limit + 1)  # counted for the weight's gradient
    assert not followed("forward", (limit + 1) / x.numel(), 0.15, 100, (100, 32))
    numbers.view(-1)[:1501] = 0.5
    assert chosen(numbers, weight) == (DENSE, -1, -1)
    assert not followed("weight", 1501 / x.numel(), 0.15, 100, (100, 32))
    numbers.view(-1)[limit:] = 0
    assert chosen(numbers, weight[:31]) == (DENSE, -1, -1)
    assert not followed("forward", limit / x.numel(), 0.15, 100, (100, 31))


def test_few_rows_do_not_pay_for_the_gradient_of_a_large_weight() -> None:
    """10 % are too many forward in 16 rows, so they are counted for the gradient or not at all."""
    x = torch.zeros(1, 16, 1024)
    x[..., ::10] = 0.5
    with using(Table("here", (1,), dict.fromkeys(PRODUCTS, ((0.15,),)))):
        assert chosen(x, torch.zeros(511, 1024)) == (DENSE, -1, 16 * 103)
        assert chosen(x, torch.zeros(512, 1024)) == (DENSE, -1, -1)
        assert chosen(x.expand(2, -1, -1).contiguous(), torch.zeros(512, 1024))[2] == 32 * 103
    assert followed("weight", 0.1, 0.15, 16, (1024, 511))
    assert not followed("weight", 0.1, 0.15, 16, (1024, 512))
    assert followed("weight", 0.1, 0.15, 32, (1024, 512))


def test_strides() -> None:
    weight = torch.randn(30, 40).t()[:, :20].t()  # not contiguous, [20, 40]
    x = spikes(40, 3, 6, 0.2).permute(2, 1, 0)
    for route in ("events", "dense"):
        with forced(route), poisoned():
            torch.testing.assert_close(cpu.linear(x, weight=weight), F.linear(x, weight=weight))
            leaf = x.clone().requires_grad_()
            for reduce in (
                torch.sum,
                torch.mean,
                lambda y: y.mean(0).square().sum(),  # the same gradient at every step
                lambda y: y.permute(2, 1, 0).contiguous().square().sum(),
            ):
                w = weight.clone().requires_grad_()
                got = torch.autograd.grad(reduce(cpu.linear(leaf, weight=w)), [leaf, w])
                want = torch.autograd.grad(reduce(F.linear(leaf, weight=w)), [leaf, w])
                torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("outputs", "inputs"), [(256, 130), (300, 600)])
@pytest.mark.parametrize("rate", [0.002, 0.3])
def test_gradients_are_read_where_they_lie(outputs: int, inputs: int, rate: float) -> None:
    """Many chunks of 128 rows, some almost empty, more than a span of them; rows one behind the
    other, far apart, turned.
    """
    steps, batch = 40, 43
    generator = torch.Generator().manual_seed(4)
    x = spikes(steps, batch, inputs, rate).double()
    leaf = x.clone().requires_grad_()
    weight = torch.randn(outputs, inputs, generator=generator).double().requires_grad_()
    bias = torch.zeros(outputs).double().requires_grad_()
    wide = torch.randint(-99, 99, (steps, batch, outputs + 9), generator=generator).double()
    gradients = [
        wide[..., :outputs].contiguous(),
        wide[..., 9:],
        wide[..., 9:].transpose(0, 1).contiguous().transpose(0, 1),
        wide.flip(2)[:1, :, 9:].expand(steps, batch, outputs),
    ]
    for incoming in gradients:
        for leaves in ([weight, bias], [weight, bias, leaf]):
            seen = leaf if len(leaves) == 3 else x
            want = torch.autograd.grad(F.linear(seen, weight=weight, bias=bias), leaves, incoming)
            for count in (1, 2):
                with forced("events"), poisoned(), threads(count):
                    y = cpu.linear(seen, weight=weight, bias=bias)
                    got = torch.autograd.grad(y, leaves, incoming)
                assert torch.equal(got[0], want[0])
                assert torch.equal(got[1], want[1])
                if len(leaves) == 3:
                    torch.testing.assert_close(got[2], want[2], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("input", ["events", "dense"])
def test_gradients_where_they_lie_reach_spikes_at_places(input: str) -> None:
    """A wide connection behind a layer that passes spikes on, over more than a segment."""
    x = spikes(60, 33, 20, 0.3).double()
    first = torch.rand(70, 20).double().requires_grad_()
    second = torch.randn(300, 70).double().requires_grad_()
    incoming = torch.randn(60, 33, 300).double()
    args = {"beta": 0.5, "surrogate": S.triangle(1.0)}
    s, _ = F.lif(F.linear(x, weight=first), **args)
    want = torch.autograd.grad(F.linear(s, weight=second), [first, second], incoming)
    with forced("events", "events", input), poisoned():
        fast, _ = cpu.layer(x, weight=first, neuron="lif", args=args, pass_on=True)
        got = torch.autograd.grad(cpu.linear(fast, weight=second), [first, second], incoming)
    for a, b in zip(want, got, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9 * float(a.abs().max()))


@pytest.mark.parametrize("x", ["spikes", "static", "static leaf", "real"])
@pytest.mark.parametrize("route", ["events", "dense"])
def test_a_gradient_that_is_constant_over_time(x: str, route: str) -> None:
    """As the sum over time gives it: counts of spikes are enough then."""
    torch.manual_seed(0)
    weight, bias = torch.randn(65, 70).requires_grad_(), torch.randn(65).requires_grad_()
    rows = (torch.rand(9, 4, 70) < 0.3).float() if x == "spikes" else torch.rand(9, 4, 70)
    leaf = rows[0].clone() if x.startswith("static") else rows
    leaf.requires_grad_(x != "static")
    seen = leaf.expand(9, 4, 70) if x.startswith("static") else leaf
    leaves = [weight, bias, *([leaf] if leaf.requires_grad else [])]
    outer = torch.randn(4, 65)

    def outcome(function) -> tuple[torch.Tensor, ...]:
        y = function(seen, weight=weight, bias=bias)
        return torch.autograd.grad(y, leaves, outer.expand(y.shape))

    with forced(route), poisoned():
        got = outcome(cpu.linear)
    torch.testing.assert_close(got, outcome(F.linear), rtol=1e-5, atol=1e-5)


def test_a_layer_takes_it_and_reference_does_not() -> None:
    x = spikes(10, 4, 100, 0.05)
    fast, slow = sg.Linear(100, 20), sg.Linear(100, 20, backend="reference")
    slow.load_state_dict(fast.state_dict())
    torch.testing.assert_close(fast(x), slow(x))
    assert torch.equal(slow(x), torch.nn.functional.linear(x, slow.weight, slow.bias))
    assert choose("linear", "auto", x, {}).backend == "cpu"
    with pytest.raises(sg.UserError, match="unknown backend"):
        sg.Linear(3, 2, backend="gpu")


def test_a_second_backward_is_refused() -> None:
    x, weight = spikes(3, 2, 20, 0.2), torch.randn(4, 20, requires_grad=True)
    y = cpu.linear(x, weight=weight)
    (first,) = torch.autograd.grad((y * y).sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="backend='reference'"):
        torch.autograd.grad(first.sum(), weight)


def test_packing() -> None:
    for n in (1, 63, 64, 65, 200):
        for dtype in (torch.float32, torch.float64):
            x = spikes(3, 2, n, 0.5).to(dtype)
            bits, ones = torch.ops.spikegrad.pack(x)
            assert ones.item() == x.sum().item()
            at = torch.arange(n)
            assert torch.equal((bits[..., at // 64] >> (at % 64)) & 1, x.long())
            x[-1, -1, -1] = 0.5
            assert torch.ops.spikegrad.pack(x)[1].item() == -1
