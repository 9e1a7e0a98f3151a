"""The synapse along the spikes: `functional.linear` at a cost that follows them.

Forward and weight gradient add up weight rows, or gradient rows, of the inputs that spiked; the
input's gradient is a dense product. The choice between spikes and the dense product is a function
of the call's shapes and its number of spikes alone, never of timings, so that runs repeat.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.functional import linear as dense

__all__ = ["CROSSOVER", "SMALLEST", "linear"]

CROSSOVER = 0.15
"""Share of inputs that spike, up to which spikes are taken.

Against a dense product with AVX-512 on two cores the forward pass breaks even above 0.3, the
weight gradient at about 0.2, from 256 to 1,024 neurons.
"""
SMALLEST = 1 << 22
"""Multiplications of the dense product below which it is taken without a look at the spikes."""


def linear(x: Tensor, *, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`functional.linear`, along the spikes where x is sparse zeros and ones in float32."""
    lists = spikes_of(x, weight)
    if lists is None:
        return dense(x, weight=weight, bias=bias)
    rows = x.reshape(-1, x.shape[-1])
    y = torch.ops.spikegrad.events_linear(rows, *lists, weight.contiguous(), bias)
    return y.reshape(*x.shape[:-1], -1)


def spikes_of(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor] | None:
    """The spikes of x as lists, or None where the dense product is the better one."""
    plain = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not plain or x.numel() * weight.shape[0] < SMALLEST or x.shape[-1] > 65_536:
        return None
    rows = x.detach().reshape(-1, x.shape[-1]).contiguous()
    lists, starts = torch.ops.spikegrad.pack(rows)
    if starts.numel() == 0 or lists.numel() > CROSSOVER * rows.numel():
        return None
    return lists, starts
