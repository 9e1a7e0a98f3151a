"""Sinabs: `lif_forward_single` in a loop over the steps.

Its layers index `x[:, t]`, whose backward writes a whole sequence of zeros per step; its own
function of one step in a loop over `unbind` does not. A spike at u >= theta as ours, `SingleSpike`;
the reset is detached by the function that its interface asks for; surrogates are passed in, since
it has neither of the two.
"""

from __future__ import annotations

import math

import torch
from sinabs.activation import MembraneSubtract, SingleSpike
from sinabs.layers.functional.lif import lif_forward_single
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.networks.base import Job, TorchTrainer, together, torch_build
from benchmarks.workloads import BETA

__all__ = ["build"]


def triangle(v: Tensor, threshold: float) -> Tensor:
    return torch.clamp_min(2.0 - 4.0 * (v - threshold).abs(), 0.0)


def arctan(v: Tensor, threshold: float) -> Tensor:
    return (2.0 / math.pi) / (1.0 + (2.0 * (v - threshold)).square())


class Detached(MembraneSubtract):
    def __call__(self, spikes: Tensor, state: dict, threshold: float) -> dict:
        return super().__call__(spikes.detach(), state, threshold)


class Loop(nn.Module):
    """One layer over all steps; weight: of the feedback, if any."""

    def __init__(self, surrogate: str, weight: Tensor | None = None) -> None:
        super().__init__()
        self.shape = triangle if surrogate == "triangle" else arctan
        self.reset = Detached()
        self.weight = None if weight is None else nn.Parameter(weight.clone())

    def forward(self, current: Tensor) -> Tensor:
        state = {"v_mem": torch.zeros_like(current[0])}
        spikes: list[Tensor] = []
        for x in current.unbind(0):
            if self.weight is not None and spikes:
                x = x + F.linear(spikes[-1], self.weight)
            s, state = lif_forward_single(
                x, BETA, None, state, 1.0, SingleSpike, self.reset, self.shape, None, False
            )
            spikes.append(s)
        return together(spikes)


def build(job: Job) -> TorchTrainer:
    trainer = torch_build(
        job, lambda: Loop(job.surrogate), lambda weight: Loop(job.surrogate, weight)
    )
    trainer.surrogate = f"{job.surrogate}(2), passed in"
    return trainer
