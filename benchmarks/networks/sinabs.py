"""Sinabs: `lif_forward_single` in a loop over the steps.

Its layers index `x[:, t]`, whose backward writes a whole sequence of zeros per step; its own
function of one step in a loop over `unbind` does not. A spike at u >= theta as ours, `SingleSpike`;
the reset is detached by the function that its interface asks for; surrogates are passed in, since
it has neither of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from sinabs.activation import MembraneSubtract, SingleSpike
from sinabs.layers.functional.lif import lif_forward_single
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.networks.base import Job, TorchTrainer, together, torch_build
from benchmarks.networks.compiled import body
from benchmarks.workloads import BETA

__all__ = ["build"]


def triangle(v: Tensor, threshold: float) -> Tensor:
    return torch.clamp_min(2.0 - 4.0 * (v - threshold).abs(), 0.0)


def arctan(v: Tensor, threshold: float) -> Tensor:
    return (2.0 / math.pi) / (1.0 + (2.0 * (v - threshold)).square())


class Detached(MembraneSubtract):
    def __call__(self, spikes: Tensor, state: dict, threshold: float) -> dict:
        return super().__call__(spikes.detach(), state, threshold)


class Spike:
    """`SingleSpike` behind an object of the same interface: torch.compile cannot read an attribute
    of an autograd function.
    """

    required_states = SingleSpike.required_states

    def apply(self, v: Tensor, threshold: float, shape: Callable[..., Tensor]) -> Tensor:
        return SingleSpike.apply(v, threshold, shape)


class Loop(nn.Module):
    """One layer over all steps; weight: of the feedback, if any."""

    def __init__(self, job: Job, weight: Tensor | None = None) -> None:
        super().__init__()
        self.shape = triangle if job.surrogate == "triangle" else arctan
        self.reset, self.spike = Detached(), Spike()
        self.weight = None if weight is None else nn.Parameter(weight.clone())

        self.body = body(job, self.step)

    def step(self, x: Tensor, s: Tensor | None, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.weight is not None and s is not None:
            x = x + F.linear(s, self.weight)
        s, state = lif_forward_single(
            x, BETA, None, {"v_mem": v}, 1.0, self.spike, self.reset, self.shape, None, False
        )
        return s, state["v_mem"]

    def forward(self, current: Tensor) -> Tensor:
        first, *later = current.unbind(0)
        s, v = self.step(first, None, torch.zeros_like(first))
        spikes = [s]
        for x in later:
            s, v = self.body(x, s, v)
            spikes.append(s)
        return together(spikes)


def build(job: Job) -> TorchTrainer:
    trainer = torch_build(job, lambda: Loop(job), lambda weight: Loop(job, weight))
    trainer.surrogate = f"{job.surrogate}(2), passed in"
    return trainer
