"""An exponential moving average of the weights, and running a network with other weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Average", "copied", "using"]


class Average:
    """`a <- d a + (1-d) w` after every step, with `d = min(decay, (1+n)/(10+n))` at step n.

    Buffers (batch norm statistics) are averaged too; whole numbers are copied.

    >>> layer = nn.Linear(1, 1)
    >>> average = Average(layer, 0.9)
    >>> average.update(layer, 0); bool(average.weights["weight"] == layer.weight)
    True
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = copied(network)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1.0 - decay)
            else:
                self.weights[name].copy_(value)


def copied(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's state, detached."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


@contextmanager
def using(network: nn.Module, weights: dict[str, Tensor] | None) -> Iterator[None]:
    """Run the network with other weights while the context is open; None for its own."""
    if weights is None:
        yield
        return
    before = copied(network)
    network.load_state_dict(weights)
    try:
        yield
    finally:
        network.load_state_dict(before)
