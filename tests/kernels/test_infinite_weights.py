"""0 times infinity is NaN in the reference: a weight behind a silent neuron must not hide it."""

from __future__ import annotations

import math

import pytest
import torch
from native import forced, needs_kernels

from spikegrad import functional as F
from spikegrad.kernels import cpu

pytestmark = needs_kernels


def problem(bad: float, silent: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Spikes `[16, 16, 70]` whose neuron 3 is silent, and a weight that is not finite behind it."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(16, 16, 70, generator=generator) < 0.1).float()
    x[..., 3] = 0 if silent else x[..., 3]
    weight = torch.randn(65, 70, generator=generator)
    weight[7, 3] = bad
    return x, weight


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("size", [1.0, 0.5])
def test_a_connection_alone_gives_what_the_reference_gives(bad: float, size: float) -> None:
    """Of spikes, and of other numbers of which few are not 0. The gradient holds NaN, which a
    product along the spikes would not carry to the weights of the silent neuron.
    """
    x, weight = problem(bad)
    x = size * x
    found = []
    for function in (F.linear, cpu.linear):
        leaf, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        with forced("events"):
            y = function(leaf, weight=w)
            found.append((y, *torch.autograd.grad(y.square().sum(), [leaf, w])))
    assert found[0][0][..., 7].isnan().all()
    torch.testing.assert_close(found[1], found[0], equal_nan=True, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("as_bits", [False, True])
def test_a_layer_gives_what_the_reference_gives(bad: float, as_bits: bool) -> None:
    x, weight = problem(bad)
    args = {"beta": 0.5}
    want, end = F.lif(F.linear(x, weight=weight), **args)
    with forced("events"):
        given = cpu.packed(x) if as_bits else x
        y, state = cpu.layer(given, weight=weight, neuron="lif", args=args)
    assert end.v[:, 7].isnan().all()
    assert torch.equal(y, want)
    torch.testing.assert_close(state.v, end.v, equal_nan=True, rtol=1e-5, atol=1e-5)


def test_a_large_weight_is_no_infinite_one() -> None:
    """Its sum overflows, and it is followed all the same."""
    x, weight = problem(0.0)
    weight[:, 0] = 3e38
    for bad, route in ((0.0, 1), (math.inf, 0)):
        weight[7, 3] = bad
        seen: list = []
        with forced("events"):
            cpu.linear(x, weight=weight, witness=seen)
        assert int(seen[0][0][0]) == route  # 1: along the spikes


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("at", [(0, 0), (-1, -1), (300, 3)])
def test_every_part_of_a_large_weight_is_looked_at(bad: float, at: tuple[int, int]) -> None:
    """In the first piece, in the last number, which fills no vector, and in between."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(16, 16, 101, generator=generator) < 0.1).float()
    weight = torch.randn(601, 101, generator=generator)
    x[..., at[1]] = 0
    weight[at] = bad
    with forced("events"):
        y = cpu.linear(x, weight=weight)
        assert y[..., at[0]].isnan().all()
        assert int(y.isnan().sum()) == 256


def test_a_compiled_layer_looks_too() -> None:
    x, weight = problem(math.inf)
    compiled = torch.compile(lambda x: cpu.linear(x, weight=weight), backend="aot_eager")
    with forced("events"):
        assert compiled(x)[..., 7].isnan().all()
