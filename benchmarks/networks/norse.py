"""Norse: `LIFBoxCell` in a loop over the steps, with feedback by hand where recurrent.

`LIFRecurrent` has a synaptic current and resets to a value, so it is another neuron. Norse's
membrane takes its input times `1 - beta`, and its triangle has half-width 1: with a threshold of 2
and currents times `2 / (1 - beta)` both are ours. Its reset by subtraction is not detached; the
same, detached, is passed in as its interface allows. There is no arctan.
"""

from __future__ import annotations

import torch
from norse.torch import LIFBoxCell, LIFBoxFeedForwardState, LIFBoxParameters
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.networks.base import Job, TorchTrainer, together, torch_build
from benchmarks.networks.compiled import body
from benchmarks.workloads import BETA

__all__ = ["build"]

DT = 0.001
THRESHOLD = 2.0


def subtract(z: Tensor, v: Tensor, reset: Tensor, threshold: Tensor) -> Tensor:
    return v - z.detach() * threshold


class Loop(nn.Module):
    """A cell over all steps; weight: of the feedback, if any."""

    gain = THRESHOLD / (1.0 - BETA)

    def __init__(self, job: Job, weight: Tensor | None = None) -> None:
        super().__init__()
        self.cell = LIFBoxCell(
            LIFBoxParameters(
                tau_mem_inv=torch.as_tensor((1.0 - BETA) / DT),
                v_th=torch.as_tensor(THRESHOLD),
                method="triangle",
                alpha=1.0,
                reset_method=subtract,
            ),
            dt=DT,
        )
        self.weight = None if weight is None else nn.Parameter(weight * self.gain)
        self.body = body(job, self.step)

    def step(
        self, x: Tensor, s: Tensor | None, state: LIFBoxFeedForwardState | None
    ) -> tuple[Tensor, LIFBoxFeedForwardState]:
        if self.weight is not None and s is not None:
            x = x + F.linear(s, self.weight)
        return self.cell(x, state)

    def forward(self, current: Tensor) -> Tensor:
        first, *later = current.unbind(0)
        s, state = self.step(first, None, None)  # without a state, another graph: not compiled
        spikes = [s]
        for x in later:
            s, state = self.body(x, s, state)
            spikes.append(s)
        return together(spikes)


def build(job: Job) -> TorchTrainer:
    trainer = torch_build(job, lambda: Loop(job), lambda weight: Loop(job, weight))
    trainer.surrogate = "triangle(1) at theta 2"
    return trainer
