"""Whole numbers in a step: values, both gradients, and the native scan."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import spikegrad as sg
from spikegrad import kernels
from spikegrad.functional import rounded, truncated
from spikegrad.kernels import cpu
from spikegrad.step import Step


@pytest.mark.parametrize(("ours", "torchs"), [(rounded, torch.round), (truncated, torch.trunc)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_exact_and_gradients_as_asked_for(ours: Any, torchs: Any, dtype: Any) -> None:
    torch.manual_seed(0)
    x = torch.cat(
        [
            torch.randn(20000, dtype=dtype) * 10.0**scale
            for scale in (-6, 0, 2, 7, 12)
        ]
        + [torch.arange(-40, 41, dtype=dtype) / 2]
    )  # fmt: skip
    for gradient, want in (("straight_through", 1.0), ("zero", 0.0)):
        given = x.clone().requires_grad_()
        y = ours(given, gradient)
        y.sum().backward()
        assert torch.equal(y, torchs(x))
        assert (given.grad == want).all()
    assert torch.equal(ours(x), ours(x, "straight_through"))
    with pytest.raises(sg.UserError, match="straight_through"):
        ours(x, "one")


def chip_of(gradient: Any) -> Step:
    """LIF in whole numbers: a decay of 1 - 1/8 that truncates, and weights that are rounded."""

    def chip(x: Tensor, s: Any, p: Any) -> Any:
        v = s.v - truncated(s.v * p.leak, gradient)
        u = v + rounded(x, gradient)
        fired = p.spike(u, p.threshold)
        return fired, {"v": p.reset(u, fired)}

    return Step(chip, states={"v": 0.0}, parameters={"leak": 0.125, "threshold": 64.0})


@pytest.mark.parametrize("gradient", ["straight_through", "zero"])
def test_a_step_of_whole_numbers_runs_natively(gradient: str) -> None:
    if cpu.load():
        pytest.skip(f"no native kernels: {cpu.load()}")
    torch.manual_seed(0)
    step, found = chip_of(gradient), []
    for backend in ("reference", "cpu"):
        x = (torch.rand(40, 3, 7, generator=torch.Generator().manual_seed(1)) * 40).requires_grad_()
        leak = torch.tensor(0.125, requires_grad=True)
        s, state = kernels.step(step, x, backend=backend, leak=leak)
        (s.sum() + state.v.sum()).backward()
        found.append((s, state.v, x.grad, torch.zeros(()) if leak.grad is None else leak.grad))
    assert 0.1 < found[0][0].mean() < 0.9
    assert torch.equal(found[0][1], found[0][1].round())
    for mine, theirs in zip(*found, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][2].any() == (gradient == "straight_through")
