"""A network of every kind of layer that Triton's kernels run, and what a call of one gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import spikegrad as sg

__all__ = ["network_of", "run_network"]


def network_of() -> Any:
    """Two layers, one fed back, a neuron of the user's kind, and a readout."""
    torch.manual_seed(1)
    return sg.Sequential(
        sg.Linear(6, 8),
        sg.nn.Recurrent(sg.LIF(10.0, learn="tau_mem"), 8),
        sg.Linear(8, 9),
        sg.ResonateAndFire(),
        sg.Linear(9, 4),
        sg.LI(10.0),
    )


def run_network(network: Any, x: Tensor, run: Any = None) -> list[Tensor]:
    """Output and gradients; run: the network, compiled."""
    network.zero_grad()
    x = x.clone().requires_grad_()
    y, _ = (network if run is None else run)(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in network.parameters())]
