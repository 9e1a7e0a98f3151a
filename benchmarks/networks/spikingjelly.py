"""SpikingJelly: `LIFNode` over all steps, or step by step where the layer is recurrent.

`tau = 1/(1 - beta)` with `decay_input=False` is our decay and gain, `v_reset=None` the reset by
subtraction; spikes at u >= theta as ours.
"""

from __future__ import annotations

import math

import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.networks.base import Job, TorchTrainer, together, torch_build
from benchmarks.networks.compiled import body
from benchmarks.workloads import BETA

__all__ = ["build"]


class Whole(nn.Module):
    """A node that takes `[T, B, ...]` itself."""

    def __init__(self, node: nn.Module) -> None:
        super().__init__()
        self.node = node

    def forward(self, current: Tensor) -> Tensor:
        functional.reset_net(self.node)
        return self.node(current)


class FedBack(nn.Module):
    """A node whose last spikes enter with the next current.

    `layer.LinearRecurrentContainer` does the same with a product of the joined input and spikes,
    which cannot be batched over time.
    """

    def __init__(self, node: nn.Module, weight: Tensor) -> None:
        super().__init__()
        self.node, self.weight = node, nn.Parameter(weight.clone())

    def forward(self, current: Tensor) -> Tensor:
        functional.reset_net(self.node)
        spikes, s = [], None
        for x in current.unbind(0):
            s = self.node(x if s is None else x + F.linear(s, self.weight))
            spikes.append(s)
        return together(spikes)


class Compiled(nn.Module):
    """A node's own function of one step, compiled, in a loop; weight: of the feedback, if any."""

    def __init__(self, job: Job, node: nn.Module, weight: Tensor | None = None) -> None:
        super().__init__()
        self.node = node
        self.weight = None if weight is None else nn.Parameter(weight.clone())
        self.body = body(job, self.step)

    def step(self, x: Tensor, s: Tensor | None, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.weight is not None and s is not None:
            x = x + F.linear(s, self.weight)
        (s,), (v,) = self.node.single_step_functional_forward((x,), (v,))
        return s, v

    def forward(self, current: Tensor) -> Tensor:
        first, *later = current.unbind(0)
        s, v = self.step(first, None, torch.zeros_like(first))
        spikes = [s]
        for x in later:
            s, v = self.body(x, s, v)
            spikes.append(s)
        return together(spikes)


def build(job: Job) -> TorchTrainer:
    if job.surrogate == "triangle":
        shape: nn.Module = surrogate.PiecewiseQuadratic(alpha=2.0)
    else:
        shape = surrogate.ATan(alpha=4.0 / math.pi)

    def node(mode: str) -> nn.Module:
        return neuron.LIFNode(
            tau=1.0 / (1.0 - BETA),
            decay_input=False,
            v_threshold=1.0,
            v_reset=None,
            surrogate_function=shape,
            detach_reset=True,
            step_mode=mode,
        )

    if job.options.get("compiled"):
        trainer = torch_build(
            job, lambda: Compiled(job, node("s")), lambda w: Compiled(job, node("s"), w)
        )
    else:
        trainer = torch_build(job, lambda: Whole(node("m")), lambda w: FedBack(node("s"), w))
    trainer.surrogate = "PiecewiseQuadratic(2)" if job.surrogate == "triangle" else "ATan(4/pi)"
    return trainer
