"""The specification under `torch.func` and `torch.compile`."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from neurons import CASES, Case, ids

from spikegrad import functional as F


def values(case: Case, **extra):
    return {**{k: v.item() for k, v in case.tensors().items()}, **case.words, **extra}


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_vmap_over_networks_and_grad(case: Case) -> None:
    """Per-sample gradients by vmap(grad) equal a loop over samples."""
    p = values(case)
    x = torch.rand(5, 6, 2, 3, dtype=torch.float64)  # [samples, T, B, N]

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (case.scan(x, **p)[0] * torch.arange(3)).sum()

    got = torch.func.vmap(torch.func.grad(loss))(x)
    for one, want in zip(x, got, strict=True):
        leaf = one.clone().requires_grad_()
        torch.testing.assert_close(torch.autograd.grad(loss(leaf), leaf)[0], want)


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_compiles_without_graph_breaks(case: Case) -> None:
    p = values(case)

    def run(x: torch.Tensor) -> torch.Tensor:
        return case.scan(x, **p)[0]

    torch._dynamo.reset()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    x = torch.rand(4, 2, 3, dtype=torch.float64, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    y, want = compiled(x), run(twin)
    assert torch.equal(y, want)
    y.sum().backward()
    want.sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)


def test_second_derivative_through_the_specification() -> None:
    """Double backward goes through the surrogate's own derivative."""
    x = torch.rand(4, 1, 2, dtype=torch.float64, requires_grad=True)
    y, _ = F.lif(x, beta=0.9)
    first = torch.autograd.grad(y.sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), x)[0]
    assert torch.isfinite(second).all()
    assert second.abs().sum() > 0


def test_recurrence_under_vmap() -> None:
    weights = torch.randn(4, 3, 3)
    x = torch.rand(5, 2, 3)
    run = lambda w: F.recurrent(x, weight=w, neuron=partial(F.lif, beta=0.9))[0]  # noqa: E731
    assert torch.equal(torch.func.vmap(run)(weights)[1], run(weights[1]))
