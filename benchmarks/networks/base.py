"""What every implementation offers the harness, and the networks that all torch ones share.

A library supplies its neuron layer alone; connections, readout, loss and optimiser are torch's own
and the same for all of them: a connection sees all steps at once, `[T*B, ...]`, a static input
once. So a difference between two torch rows is a difference between their neurons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.networks.job import LEARNING_RATE, Job, Trainer

__all__ = ["Job", "TorchTrainer", "network", "together", "torch_build"]


class TorchTrainer(Trainer):
    """A torch module from x to `[T, B, C]`, or in W4 from a current to spikes."""

    def __init__(self, net: nn.Module, job: Job) -> None:
        self.net, self.workload = net, job.workload
        self.x, self.labels = job.tensor("x"), job.tensor("labels")
        self.alone = job.workload.kind == "scan"
        if self.alone:
            self.x = (self.x * getattr(net, "gain", 1.0)).requires_grad_()
            return
        self.optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, fused=True)

    def step(self, batch: int | None = None) -> None:
        x, labels = self.part(batch)
        if self.alone:
            self.x.grad = None
            self.net(x).sum().backward()
            return
        self.optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(self.net(x).mean(0), labels).backward()
        self.optimizer.step()

    def part(self, batch: int | None) -> tuple[Tensor, Tensor]:
        """Input and labels, of the first samples if asked."""
        if batch is None:
            return self.x, self.labels
        x = self.x[:batch] if self.workload.static else self.x[:, :batch].contiguous()
        return x, self.labels[:batch]

    def spikes(self) -> list[np.ndarray]:
        with torch.no_grad():
            if self.alone:
                return [self.net(self.x).detach().numpy()]
            self.net.seen = []
            self.net(self.x)
            seen, self.net.seen = self.net.seen, None
        return [s.numpy() for s in seen]

    def adam_alone(self) -> None:
        if self.alone:
            self.x.grad = torch.zeros_like(self.x)
            return
        for p in self.net.parameters():
            p.grad = torch.zeros_like(p)
        self.optimizer.step()

    def about(self) -> dict[str, Any]:
        return {"isa": torch.backends.cpu.get_cpu_capability().lower()}


class Network(nn.Module):
    """Connections and neuron layers in turn, and a linear readout."""

    def __init__(self, job: Job, neurons: list[nn.Module]) -> None:
        super().__init__()
        self.steps, self.static = job.workload.steps, job.workload.static
        self.neurons = nn.ModuleList(neurons)
        gains = [getattr(neuron, "gain", 1.0) for neuron in neurons]
        self.connections = nn.ModuleList(
            connection(job, i, gain) for i, gain in enumerate([*gains, 1.0])
        )
        self.seen: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        lead = (1, x.shape[0]) if self.static else x.shape[:2]
        x = x if self.static else x.flatten(0, 1)
        for layer, neuron in zip(self.connections, self.neurons, strict=False):
            conv = isinstance(layer, nn.Conv2d)
            current = layer(x if conv else x.flatten(1)).unflatten(0, lead)
            if lead[0] < self.steps:  # a static input, seen at every step from here on
                lead = (self.steps, lead[1])
                current = current.expand(*lead, *current.shape[2:])
            s = neuron(current)
            if self.seen is not None:
                self.seen.append(s)
            x = s.flatten(0, 1)
            x = F.max_pool2d(x, 2) if conv else x
        return self.connections[-1](x.flatten(1)).unflatten(0, lead)


def connection(job: Job, index: int, gain: float) -> nn.Module:
    """Connection `index` with the shared weights; gain: the unit of the neurons behind it."""
    w, b = job.tensor(f"w{index}"), job.tensor(f"b{index}")
    layer: nn.Module
    if w.dim() == 4:
        layer = nn.Conv2d(w.shape[1], w.shape[0], w.shape[2], padding=1)
        layer = layer.to(memory_format=torch.channels_last)
    else:
        layer = nn.Linear(w.shape[1], w.shape[0])
    with torch.no_grad():
        layer.weight.copy_(w * gain)
        layer.bias.copy_(b * gain)
    return layer


def network(
    job: Job, lif: Callable[[], nn.Module], recurrent: Callable[[Tensor], nn.Module]
) -> nn.Module:
    """The workload's network. lif() makes a layer, recurrent(weight) one with feedback."""
    kind = job.workload.kind
    if kind == "scan":
        return lif()
    if kind == "recurrent":
        return Network(job, [recurrent(job.tensor("recurrent"))])
    return Network(job, [lif() for _ in job.workload.hidden])


def torch_build(
    job: Job, lif: Callable[[], nn.Module], recurrent: Callable[[Tensor], nn.Module]
) -> TorchTrainer:
    """A trainer of the workload's network; channels last where it is convolutional."""
    trainer = TorchTrainer(network(job, lif, recurrent), job)
    if job.workload.kind == "conv":
        trainer.x = trainer.x.to(memory_format=torch.channels_last)
    return trainer


def together(spikes: list[Tensor]) -> Tensor:
    """Steps `[B, ...]` as `[T, B, ...]`; `cat` keeps channels last where `stack` does not."""
    if spikes[0].dim() == 4:
        return torch.cat(spikes).unflatten(0, (len(spikes), -1))
    return torch.stack(spikes)
