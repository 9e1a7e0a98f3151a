"""The spike: the step forward, the surrogate backward, and every transform of torch over it."""

import math

import pytest
import torch

from spikegrad.errors import UserError
from spikegrad.surrogate import Surrogate, arctan, get, names, spike, superspike, triangle

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LEARNABLE = [n for n in names() if get(n).normalisation == "area" and get(n).family.has_slope]


def points(record, dtype=torch.float64):
    """Around the threshold, no closer to a kink than 1e-3 of the width."""
    z = torch.linspace(-2.503, 2.501, 24, dtype=torch.float64)
    assert all((z - kink).abs().min() > 1e-3 for kink in record.family.kinks)
    return (z / record.slope).to(dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", names())
def test_steps_forward_and_surrogate_backward(name, dtype):
    record = get(name)
    x = torch.tensor([-1e4, -1.0, -1e-3, 0.0, 1e-3, 1.0, 1e4], dtype=dtype, requires_grad=True)
    s = spike(x, record)
    assert s.dtype == dtype
    assert s.tolist() == [0, 0, 0, 1, 1, 1, 1]
    (gradient,) = torch.autograd.grad(s.sum(), x)
    assert torch.equal(gradient, record.derivative(x.detach()))


@pytest.mark.parametrize("name", names())
def test_gradcheck_in_soft_mode(name):
    record = get(name).soft()
    x = points(record).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: spike(x, record), (x,))
    if math.isfinite(record.properties().lipschitz):
        assert torch.autograd.gradgradcheck(lambda x: spike(x, record), (x,))


@pytest.mark.parametrize("shape", [(), (1,), (6,), (4, 6), (4, 1)], ids=str)
@pytest.mark.parametrize("name", LEARNABLE)
def test_gradcheck_of_the_slope_in_soft_mode(name, shape):
    record = get(name, gain=0.7).soft()
    x = points(record).reshape(4, 6).requires_grad_()
    slope = torch.full(shape, 1.01 * record.slope, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, k: spike(x, record, k), (x, slope))


@pytest.mark.parametrize("name", LEARNABLE)
def test_slope_gradient_in_hard_mode(name):
    """d/dk P(kx) = x p(kx) = x g(x) / k, summed over what shares the slope."""
    record = get(name)
    x = points(record).reshape(4, 6)
    slope = torch.linspace(0.5, 2.0, 6, dtype=torch.float64, requires_grad=True)
    s = spike(x, record, slope)
    assert torch.equal(s, (x >= 0).to(x.dtype))
    s.sum().backward()
    expected = torch.stack(
        [
            (x[:, n] * record.with_slope(float(k)).derivative(x[:, n]) / k).sum()
            for n, k in enumerate(slope.detach())
        ]
    )
    torch.testing.assert_close(slope.grad, expected)


@pytest.mark.parametrize("name", LEARNABLE)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_both_gradients_are_finite_far_out(name, dtype):
    x = torch.tensor([-1e4, -90.0, 0.0, 90.0, 1e4], dtype=dtype, requires_grad=True)
    for mode in ("hard", "soft"):
        record = Surrogate(get(name).name, mode=mode)
        slope = torch.tensor(100.0, dtype=dtype, requires_grad=True)
        out = spike(x, record, slope)
        gradients = torch.autograd.grad(out.float().sum(), (x, slope))
        assert out.isfinite().all()
        assert [g.dtype for g in gradients] == [dtype, dtype]
        # leaky: x * leak summed is 2e2; nothing here is near the largest float16
        assert all(g.isfinite().all() for g in gradients)


def test_slope_gradient_of_half_types_is_summed_in_float32():
    x = torch.full((4096,), 0.5, dtype=torch.float16)
    slope = torch.tensor(1.0, dtype=torch.float16, requires_grad=True)
    spike(x, triangle(1.0), slope).sum().backward()
    assert float(slope.grad) == 1024.0  # 4096 * 0.5 * 0.5


@pytest.mark.parametrize("name", names())
def test_vmap_and_grad(name):
    record = get(name)
    x = points(record)
    expected = record.derivative(x)
    torch.testing.assert_close(torch.func.vmap(lambda x: spike(x, record))(x), spike(x, record))
    torch.testing.assert_close(
        torch.func.vmap(torch.func.grad(lambda x: spike(x, record)))(x), expected
    )
    torch.testing.assert_close(torch.func.grad(lambda x: spike(x, record).sum())(x), expected)


@pytest.mark.parametrize("name", LEARNABLE)
def test_vmap_over_slopes(name):
    record = get(name)
    x = points(record)
    slopes = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    by_vmap = torch.func.vmap(
        torch.func.grad(lambda k, x: spike(x, record, k).sum()), in_dims=(0, None)
    )(slopes, x)
    by_loop = torch.stack([record.slope_derivative(x, k).sum() for k in slopes])
    torch.testing.assert_close(by_vmap, by_loop)


@pytest.mark.parametrize("name", names())
def test_compiles_without_a_graph_break(name):
    torch._dynamo.reset()
    record = get(name)
    x = points(record, torch.float32).requires_grad_()
    compiled = torch.compile(
        lambda x: spike(2 * x, record).square(), fullgraph=True, backend="aot_eager"
    )
    (gradient,) = torch.autograd.grad(compiled(x).sum(), x)
    (expected,) = torch.autograd.grad(spike(2 * x, record).square().sum(), x)
    torch.testing.assert_close(gradient, expected)


def test_compiles_with_a_slope():
    torch._dynamo.reset()
    record = arctan(2.0)
    x, slope = points(record, torch.float32), torch.tensor(1.5, requires_grad=True)
    compiled = torch.compile(lambda x, k: spike(x, record, k), fullgraph=True, backend="aot_eager")
    (gradient,) = torch.autograd.grad(compiled(x, slope).sum(), slope)
    torch.testing.assert_close(gradient, record.slope_derivative(x, slope.detach()).sum())


def test_gradient_to_the_threshold():
    """x = u - theta: the threshold gets minus the membrane's gradient."""
    u = torch.tensor([0.5, 1.0, 2.0])
    theta = torch.tensor(1.0, requires_grad=True)
    spike(u - theta, arctan(2.0)).sum().backward()
    torch.testing.assert_close(theta.grad, -arctan(2.0).derivative(u - 1.0).sum())


def test_double_backward_in_hard_mode():
    x = torch.linspace(-1, 1, 7, dtype=torch.float64, requires_grad=True)
    record = get("gaussian")
    (first,) = torch.autograd.grad(spike(x, record).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, -2 * record.slope**2 * x * record.derivative(x))


def test_noncontiguous_and_expanded_gradients():
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).t().requires_grad_()
    s = spike(x, triangle(1.0))
    (mean,) = torch.autograd.grad(s.mean(), x)  # an incoming gradient of stride 0
    torch.testing.assert_close(mean, triangle(1.0).derivative(x) / 20)


X = torch.zeros(2, 3, requires_grad=True)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: spike(X, "arctan"), TypeError, "Surrogate"),
        (lambda: spike(torch.zeros(3, dtype=torch.int64), arctan()), TypeError, "x.float"),
        (lambda: spike([0.0], arctan()), TypeError, "got list"),
        (lambda: spike(X, arctan(), 2.0), TypeError, "with_slope"),
        (lambda: spike(X, arctan(), torch.tensor(2)), TypeError, "floating point"),
        (lambda: spike(X, superspike(), torch.tensor(2.0)), UserError, "area normalisation"),
        (lambda: spike(X, get("straight_through"), torch.tensor(2.0)), UserError, "no slope"),
        (lambda: spike(X, arctan(), torch.ones(2)), UserError, r"shape \[2, 3\], got \[2\]"),
        (lambda: spike(X, arctan(), torch.ones(1, 2, 3)), UserError, r"got \[1, 2, 3\]"),
    ],
)
def test_refuses(call, error, says):
    with pytest.raises(error, match=says):
        call()
