"""Taps that the backward pass computes again are those of the specification, gradients too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import spikegrad as sg
from spikegrad import functional as F
from spikegrad import kernels
from spikegrad.errors import UserError
from spikegrad.kernels.cpu import taps as recomputed
from spikegrad.types import Taps

SHAPES = {"dense": ((5, 7), (5, 7)), "input": ((5, 7), (7,)), "connection": ((5, 7), ())}
SHAPES |= {"row": ((5, 7), (1, 7)), "column": ((5, 7), (5, 1))}
SHAPES |= {"edges": ((11,), (11,)), "no synapse": ((0,), (0,))}
MOST = 6


def drawn(sizes: tuple[tuple[int, ...], tuple[int, ...]], dtype: torch.dtype) -> list[Tensor]:
    """A weight and a delay; some delays are whole steps or the ends of the range."""
    torch.manual_seed(0)
    weight, delay = (torch.rand(size, dtype=dtype) for size in sizes)
    delay = delay * MOST
    if delay.numel() > 3:
        delay.view(-1)[:3] = torch.tensor([0.0, 3.0, float(MOST)], dtype=dtype)
    return [weight.requires_grad_(), delay.requires_grad_()]


def outcome(made: Taps, inputs: list[Tensor], grad: Tensor) -> list[Tensor]:
    """First steps, values and gradients."""
    found = torch.autograd.grad(made.values, inputs, grad)
    return [made.first, made.values.detach(), *found]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("sigma", [None, 0.5, 3.0])
@pytest.mark.parametrize("at_once", [recomputed.AT_ONCE, 20])
def test_taps_and_gradients_are_those_of_the_specification(
    name: str,
    sigma: float | None,
    dtype: torch.dtype,
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recomputed, "AT_ONCE", at_once)
    inputs = drawn(SHAPES[name], dtype)
    weight, delay = inputs
    how = {"most": MOST} if sigma is None else {"most": MOST, "sigma": sigma}
    spec: Callable[..., Taps] = F.interpolated_taps if sigma is None else F.gaussian_taps
    want = spec(weight, delay if sigma is None else delay.expand(weight.shape), **how)
    found = kernels.learned_taps(weight, delay, **how)
    assert type(found.values.grad_fn) is not type(want.values.grad_fn)
    grad = torch.randn_like(want.values)
    tolerance = {"rtol": 2e-5, "atol": 2e-5} if dtype == torch.float32 else {"rtol": 1e-12}
    pairs = zip(outcome(found, inputs, grad), outcome(want, inputs, grad), strict=True)
    for position, (one, other) in enumerate(pairs):
        if position < 2:
            assert torch.equal(one, other)
        else:
            torch.testing.assert_close(one, other, **{"atol": 1e-12, **tolerance})


@pytest.mark.parametrize("sigma", [None, 1.5])
def test_the_gradient_has_a_gradient(sigma: float | None) -> None:
    weight, delay = drawn(((3, 4), (3, 4)), torch.float64)
    # Away from the first delays, which are whole steps: there the taps have a corner.
    delay = (torch.rand(3, 4, dtype=torch.float64) * 0.8 + 0.1 + torch.arange(4)).requires_grad_()

    def values(w: Tensor, d: Tensor) -> Tensor:
        return kernels.learned_taps(w, d, most=MOST, sigma=sigma).values

    assert torch.autograd.gradgradcheck(values, (weight, delay))


def test_only_weight_and_delay_are_kept() -> None:
    kept: list[Tensor] = []
    layer = sg.DelayedLinear(7, 5, 6.0, learn="gaussian")
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer.taps()
    assert max(t.numel() for t in kept) == 7 * 5


def test_a_wrong_delay_is_an_error() -> None:
    weight = torch.ones(2, 2)
    with pytest.raises(UserError, match=r"expected delays in \[0, 6\] steps, got 7"):
        kernels.learned_taps(weight, torch.full((2, 2), 7.0), most=MOST)
    with pytest.raises(UserError, match="expected a finite sigma > 0 steps"):
        kernels.learned_taps(weight, weight, most=MOST, sigma=0.0)
    with pytest.raises(UserError, match="expected most"):
        kernels.learned_taps(weight, weight * 0, most=0)


def test_derivatives_of_torch_func_and_forward_mode() -> None:
    weight, delay = (each.detach() for each in drawn(((3, 4), (3, 4)), torch.float64))
    delay = delay * 0.9 + 0.1

    def total(w: Tensor, d: Tensor) -> Tensor:
        return kernels.learned_taps(w, d, most=MOST).values.sin().sum()

    want = torch.autograd.grad(total(w := weight.clone().requires_grad_(), delay), w)[0]
    torch.testing.assert_close(torch.func.grad(total)(weight, delay), want)
    along = torch.ones_like(weight)
    _, slope = torch.func.jvp(total, (weight, delay), (along, torch.zeros_like(delay)))
    torch.testing.assert_close(slope, want.sum())
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(weight, along)
        made = torch.autograd.forward_ad.unpack_dual(total(dual, delay))
    torch.testing.assert_close(made.tangent, want.sum())


def test_the_reference_keeps_its_graph() -> None:
    inputs = drawn(((3, 4), (3, 4)), torch.float32)
    taps = kernels.learned_taps(*inputs, most=MOST, backend="reference")
    assert "Stack" in type(taps.values.grad_fn).__name__
