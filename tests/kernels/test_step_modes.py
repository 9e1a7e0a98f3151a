"""Modes of torch around the first call of a step must have no part in its generated kernel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from native import needs_kernels
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from spikegrad import kernels
from spikegrad.step import Step

pytestmark = needs_kernels


def fresh() -> Step:
    """A step that nothing has traced yet."""

    def clipped(x: Tensor, s: Any, p: Any) -> Any:
        u = 0.9 * s.v + x
        fired = p.spike(u, p.threshold)
        v = torch.maximum(p.reset(u, fired), -0.5 * u)
        v.clamp_(max=2.0)  # in place, on a value of its own
        return fired, {"v": v}

    return Step(clipped, states={"v": 0.0}, parameters={"threshold": 1.0})


def gradient(run: Callable[[Tensor], Tensor]) -> Tensor:
    """Of a weighted sum of the output."""
    x = torch.rand(20, 2, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (run(x) * torch.linspace(-1, 1, x.numel()).reshape(x.shape)).sum().backward()
    assert x.grad is not None
    return x.grad


def native(step: Step) -> Callable[[Tensor], Tensor]:
    return lambda x: kernels.step(step, x, backend="cpu")[0]


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "saved_tensors_hooks": lambda: torch.autograd.graph.saved_tensors_hooks(
        lambda t: t + 1.0, lambda t: t - 1.0
    ),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_first_call_in_a_mode_leaves_the_gradient_as_it_is(mode: str) -> None:
    step = fresh()
    with MODES[mode]():
        native(step)(torch.rand(5, 2, 5))
    want = gradient(lambda x: step(x)[0])
    assert want.abs().max() > 0.1
    assert torch.equal(gradient(native(step)), want)


def test_the_first_call_within_a_checkpoint() -> None:
    step = fresh()
    again = gradient(lambda x: checkpoint(native(step), x, use_reentrant=False))
    assert torch.equal(again, gradient(lambda x: step(x)[0]))
