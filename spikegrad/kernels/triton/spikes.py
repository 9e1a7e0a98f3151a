"""Spikes between layers as bits: 8 steps of a neuron in a byte.

Over time and not over neurons, so that a thread of a scan, which has one neuron, fills its byte
without asking others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["FEWEST", "STEPS", "Spikes", "bytes_of", "edge_of", "side_by_side"]

STEPS = 8
"""Of a byte: bit s of byte k is step 8 k + s."""
FEWEST = 4
"""Steps of a sequence whose spikes travel as bits: of fewer most bits of a byte are empty."""


class Spikes(NamedTuple):
    """Spikes `[T, B, N]` between two layers.

    edge: their place in autograd's graph, zeros without memory of that shape; bits: `[T/8, B, N]`,
    uint8, those beyond T are 0.
    """

    edge: Tensor
    bits: Tensor

    @property
    def columns(self) -> int:
        """N."""
        return self.edge.shape[2]

    @property
    def whole(self) -> Tensor:
        """Zeros of the spikes' shape and dtype, without memory."""
        return self.edge.detach()

    @property
    def device(self) -> torch.device:
        return self.edge.device

    @property
    def dtype(self) -> torch.dtype:
        return self.edge.dtype

    @property
    def shape(self) -> torch.Size:
        return self.edge.shape

    def numbers(self) -> Tensor:
        """The spikes as numbers, with their gradient.

        >>> bits = torch.tensor([[[5]]], dtype=torch.uint8)
        >>> Spikes(torch.zeros(4, 1, 1), bits).numbers().flatten()
        tensor([1., 0., 1., 0.])
        """
        steps = torch.arange(STEPS, dtype=torch.uint8, device=self.bits.device)
        bits = (self.bits.unsqueeze(1) >> steps.reshape(-1, 1, 1)) & 1
        return self.edge + bits.flatten(0, 1)[: len(self.edge)].to(self.dtype)


def side_by_side(parts: Sequence[Spikes]) -> tuple[Spikes, list[int]] | None:
    """Spikes of the same steps and samples as those of one layer, and the columns of each; None
    where shapes or dtypes differ.
    """
    first = parts[0]
    if any(p.shape[:2] != first.shape[:2] or p.dtype != first.dtype for p in parts):
        return None
    edge, bits = (torch.cat([p[k] for p in parts], 2) for k in (0, 1))
    return Spikes(edge, bits), [p.columns for p in parts]


def edge_of(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Zeros without memory."""
    return like.new_zeros(()).expand(shape)


def bytes_of(like: Tensor, shape: tuple[int, ...], there: bool) -> Tensor:
    """Memory for the bits of spikes `[T, B, N]`; there: whether there are any."""
    whole = (-(-shape[0] // STEPS), *shape[1:]) if there else (0,)
    return torch.empty(whole, dtype=torch.uint8, device=like.device)
