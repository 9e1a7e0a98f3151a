"""What is no spiking network: the same dense products with ReLU, an LSTM, a copy of memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.networks.base import Job, Network, TorchTrainer, torch_build

__all__ = ["build"]


class Still(nn.Module):
    """A ReLU network that sees each image once: what the task costs without time."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.net = Network(job, [nn.ReLU() for _ in job.workload.hidden])
        self.net.steps = 1

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Sequence(nn.Module):
    """`nn.RNN` with ReLU, or `nn.LSTM`, and a linear readout."""

    def __init__(self, job: Job, kind: str) -> None:
        super().__init__()
        n, h, c = job.workload.inputs, job.workload.hidden[0], job.workload.classes
        self.memory = nn.LSTM(n, h) if kind == "lstm" else nn.RNN(n, h, nonlinearity="relu")
        self.readout = nn.Linear(h, c)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.memory(x)[0])


class Copy(TorchTrainer):
    """The traffic of a neuron layer's two passes: three tensors read, three written.

    Forward: read x, write s and u. Backward: read the gradient and u, write the gradient of x.
    """

    def __init__(self, job: Job) -> None:
        self.x = job.tensor("x")
        self.y = torch.empty_like(self.x)

    def step(self, batch: int | None = None) -> None:
        for _ in range(3):
            self.y.copy_(self.x)

    def spikes(self) -> list[np.ndarray]:
        return []

    def adam_alone(self) -> None:
        """There are no parameters."""


def build(job: Job) -> TorchTrainer:
    name, kind = job.implementation, job.workload.kind
    if name == "copy":
        return Copy(job)
    if kind == "recurrent":
        trainer = TorchTrainer(Sequence(job, name), job)
    elif name == "relu-still":
        trainer = TorchTrainer(Still(job), job)
    else:
        trainer = torch_build(job, nn.ReLU, lambda weight: nn.ReLU())
    trainer.spikes = list  # type: ignore[method-assign]  # none
    return trainer
