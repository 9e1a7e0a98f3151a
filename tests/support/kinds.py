"""Neurons with several inputs, two outputs and escape noise, and what a call of one gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad import kernels
from spikegrad.functional.steps import STEPS
from spikegrad.neurons import SynapticLIF
from spikegrad.step import Step
from spikegrad.surrogate import boxcar, triangle

LIF = STEPS["lif"][0]
KINDS = {
    "both": LIF.variant(output="both"),
    "escape": LIF.variant(spike="escape"),
    "escape, both": LIF.variant(spike="escape", output="both"),
    "inputs": SynapticLIF.step,
    "inputs, escape, both": SynapticLIF.step.variant(spike="escape", output="both"),
}
FORMS: list[dict[str, Any]] = [
    {"surrogate": triangle(1.0), "refractory": 2, "detach_reset": False},
    {"surrogate": boxcar(0.5), "reset": "zero", "lean": True},
]


def outputs(y: Any) -> tuple[Tensor, ...]:
    """One output or two."""
    return y if isinstance(y, tuple) else (y,)


def results(
    step: Step,
    backend: str,
    dtype: torch.dtype,
    used: int = 2,
    steps: tuple[int, int] = (20, 17),
    **how: Any,
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Outputs and states of two chunks, gradients of all; used: outputs that the loss reads."""
    torch.manual_seed(0)
    several = (len(step.inputs),) if step.inputs else ()
    x = torch.randn(sum(steps), 3, *several, 5, dtype=torch.float64) * 0.6 + 0.3
    x = x.to(dtype).requires_grad_()
    values = {n: torch.tensor(v, dtype=dtype).requires_grad_() for n, v in step.defaults().items()}
    noisy = {"generator": torch.Generator().manual_seed(3)} if step.mode.word == "escape" else {}
    run = dict(backend=backend, **how, **values, **noisy)
    first, state = kernels.step(step, x[: steps[0]], None, **run)
    second, state = kernels.step(step, x[steps[0] :], state, **run)
    ys = [torch.cat(parts) for parts in zip(outputs(first), outputs(second), strict=True)]
    ends = [part for part in state if part is not None]
    total = sum((y * torch.randn(y.shape, dtype=dtype)).sum() for y in ys[-used:])
    total = total + sum(end.sum() for end in ends if end.is_floating_point())
    grads = torch.autograd.grad(total, [x, *values.values()], allow_unused=True)
    return [*ys, *ends], list(grads)
