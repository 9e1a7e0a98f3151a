"""The times of spikes: a train as a list of steps."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["events"]


def events(spikes: Tensor) -> tuple[Tensor, Tensor]:
    """The step of every spike, by train: int64 `[N, K]` and the numbers of spikes `[N]`.

    spikes: whole numbers `[T, N]`, checked. Row n has the steps of its spikes in order, one that
    counts twice is there twice, and T behind the last; K is the largest number of spikes.

    >>> events(torch.tensor([[0, 2], [1, 0], [1, 0]]))
    (tensor([[1, 2],
            [0, 0]]), tensor([2, 2]))
    """
    # The k-th spike is where the running count reaches k.
    reached = spikes.detach().long().cumsum(0).T.contiguous()
    number = reached[:, -1]
    most = int(number.max()) if number.numel() else 0
    order = torch.arange(1, most + 1, device=spikes.device).expand(len(number), most)
    return torch.searchsorted(reached, order.contiguous()), number
