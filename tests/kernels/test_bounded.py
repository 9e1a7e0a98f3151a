"""Numbers within bounds: one piece of memory, the gradients of autograd."""

from __future__ import annotations

import pytest
import torch

from spikegrad.kernels.bounded import bounded


def plain(raw: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return low + (high - low) * (1 + raw / (1 + raw.abs())) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (7,), (0,), (3, 5)])
def test_value_and_gradient(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    raw = (5 * torch.randn(shape, dtype=dtype)).requires_grad_()
    before = raw.detach().clone()
    found, want = bounded(raw, 0.5, 25.0), plain(raw, 0.5, 25.0)
    torch.testing.assert_close(found, want)
    grad = torch.randn_like(want)
    kept = grad.clone()
    (one,) = torch.autograd.grad(found, raw, grad)
    (other,) = torch.autograd.grad(want, raw, grad)
    torch.testing.assert_close(one, other)
    assert torch.equal(grad, kept)
    assert torch.equal(raw, before)


def test_far_out_the_gradient_is_small_but_there() -> None:
    raw = torch.tensor([-1e4, 1e4], dtype=torch.float64, requires_grad=True)
    value = bounded(raw, 0.0, 1.0)
    (gradient,) = torch.autograd.grad(value.sum(), raw)
    assert bool((value > 0).all() and (value < 1).all())
    assert bool((gradient > 1e-9).all())


def test_higher_gradients_and_functions() -> None:
    raw = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: bounded(r, -1.0, 2.0), raw)
    assert torch.autograd.gradgradcheck(lambda r: bounded(r, -1.0, 2.0), raw)
    found = torch.func.jacrev(lambda r: bounded(r, -1.0, 2.0))(raw.detach())
    want = torch.func.jacrev(lambda r: plain(r, -1.0, 2.0))(raw.detach())
    torch.testing.assert_close(found, want)
    grads = torch.eye(4, dtype=torch.float64)
    (batched,) = torch.autograd.grad(bounded(raw, -1.0, 2.0), raw, grads, is_grads_batched=True)
    torch.testing.assert_close(batched, want)
    value = bounded(raw, -1.0, 2.0)
    mapped = torch.func.vmap(lambda g: torch.autograd.grad(value, raw, g, retain_graph=True)[0])
    torch.testing.assert_close(mapped(grads), want)
    compiled = torch.compile(lambda r: bounded(r, -1.0, 2.0), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(raw), bounded(raw, -1.0, 2.0))


def test_little_memory_is_kept() -> None:
    raw = torch.randn(6, requires_grad=True)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        bounded(raw, 0.0, 3.0)
    assert [t.data_ptr() for t in kept] == [raw.data_ptr()]
