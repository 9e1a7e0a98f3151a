"""spikegrad, as its documentation says to write it: a `Sequential` and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import spikegrad as sg
from benchmarks.material import ours, sequence
from benchmarks.networks.base import Job, TorchTrainer
from spikegrad.kernels import cpu

__all__ = ["build"]


class Trainer(TorchTrainer):
    """The readout's mean over time is the loss's logits, as in every other row."""

    def spikes(self) -> list[np.ndarray]:
        """By the first layers alone, so that the kernels of the step run, not a recording.

        The buffers of this recording go back to the system: they are no part of a step.
        """
        x, found = self.net.given(self.x.detach()), []
        with torch.no_grad():
            for index, layer in enumerate(self.net.layers):
                if isinstance(layer, sg.LIF | sg.Recurrent):
                    found.append(sg.Sequential(*self.net.layers[: index + 1])(x)[0].numpy().copy())
        torch.ops.spikegrad.pool_trim()
        return found

    def about(self) -> dict[str, Any]:
        """Also the package that runs and whose crossover table it follows: two checkouts may be
        compared. One from before the sets had names has none.
        """
        named = getattr(cpu, "isa", lambda: "not named")
        package = str(Path(sg.__file__).resolve().parent)
        return {"isa": named(), "package": package, "crossover": cpu.table().measured}


class Network(torch.nn.Module):
    """A `Sequential` behind the interface of the other networks."""

    def __init__(self, job: Job, **neuron: object) -> None:
        super().__init__()
        masks = {name: torch.from_numpy(mask) for name, mask in job.masks.items()}
        self.workload, self.layers = job.workload, ours(job.workload, masks, **neuron)

    def given(self, x: Tensor) -> Tensor:
        return sequence(self.workload, x)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.given(x))[0]


def fill(layer: torch.nn.Module, weight: Tensor) -> None:
    """Give a connection the shared weights `[N, I]`, of some synapses alone theirs."""
    edges = getattr(layer, "edges", None)
    if edges is not None:
        weight = weight[edges.targets.long(), edges.sources()]
    layer.weight.copy_(weight)  # type: ignore[operator]


def build(job: Job) -> Trainer:
    """options: `lean`, and keyword arguments of the neuron layers, for example a backend."""
    record = sg.surrogate.triangle(2.0) if job.surrogate == "triangle" else sg.surrogate.arctan(2.0)
    options = dict(job.options)
    lean = options.pop("lean", False)
    net = Network(job, surrogate=record, **options)
    sg.nn.use_backend(net, lean=lean)
    connections = [m for m in net.layers if isinstance(m, sg.Linear | sg.Conv2d)]
    with torch.no_grad():
        for i, layer in enumerate(connections):
            fill(layer, job.tensor(f"w{i}"))
            layer.bias.copy_(job.tensor(f"b{i}"))
        for layer in net.layers:
            if isinstance(layer, sg.Recurrent):
                # Older checkouts, beside which this one is measured, have the weight here.
                fill(getattr(layer, "connection", layer), job.tensor("recurrent"))
    trainer = Trainer(net, job)
    trainer.surrogate = f"{job.surrogate}(2)"
    return trainer
