"""snnTorch: `Leaky` and `RLeaky` in a loop over the steps.

Spikes cannot equal ours: the reset is taken off after the decay (`reset_delay=True`, the default
and the detached one; with False the gradient goes through the reset), so a spike costs the membrane
1, not beta. They are compared with the equation of that convention instead.
Release 1.0.0's own `triangular` has the wrong sign and no triangle: ours is passed in.
"""

from __future__ import annotations

import math

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor, nn

from benchmarks.networks.base import Job, TorchTrainer, together, torch_build
from benchmarks.networks.compiled import body
from benchmarks.networks.plugged import Triangle
from benchmarks.workloads import BETA

__all__ = ["build"]


class Loop(nn.Module):
    """One layer over all steps, its state passed by hand."""

    def __init__(self, job: Job, cell: nn.Module, states: int) -> None:
        super().__init__()
        self.cell, self.states = cell, states
        self.body = body(job, self.step)

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return self.cell(x, *state)

    def forward(self, current: Tensor) -> Tensor:
        state = [torch.zeros_like(current[0]) for _ in range(self.states)]
        spikes = []
        for x in current.unbind(0):
            s, *rest = self.body(x, *state)
            state = [*([s] if self.states == 2 else []), *rest]
            spikes.append(s)
        return together(spikes)


def build(job: Job) -> TorchTrainer:
    shape = Triangle.apply if job.surrogate == "triangle" else surrogate.atan(4.0 / math.pi)

    def recurrent(weight: Tensor) -> nn.Module:
        size = weight.shape[0]
        cell = snntorch.RLeaky(beta=BETA, linear_features=size, spike_grad=shape)
        cell.recurrent = nn.Linear(size, size, bias=False)
        with torch.no_grad():
            cell.recurrent.weight.copy_(weight)
        return Loop(job, cell, 2)

    trainer = torch_build(
        job, lambda: Loop(job, snntorch.Leaky(beta=BETA, spike_grad=shape), 1), recurrent
    )
    trainer.surrogate = "triangle(2), passed in" if job.surrogate == "triangle" else "atan(4/pi)"
    return trainer
