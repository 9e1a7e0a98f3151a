"""The distance of Victor and Purpura: the cheapest way to make one train of the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.analysis.events import events
from spikegrad.analysis.trains import check_pair, check_whole
from spikegrad.errors import UserError, message

__all__ = ["victor_purpura_distance"]


def victor_purpura_distance(a: Tensor, b: Tensor, *, q: float, dt: float = 1.0) -> Tensor:
    """The least cost of changing every train of a into that of b.

    To add or remove a spike costs 1, to move it by d ms costs `q d`; found by dynamic programming
    over the spikes, exactly. q = 0 compares numbers of spikes; from `q dt = 2` on only spikes of
    the same step count as equal.

    Args:
        a, b: spikes `[T, B, *features]`, of one shape: 0 and 1, or counts.
        q: cost of moving a spike (1/ms), finite and >= 0; dt: time step (ms).
    Returns:
        distances `[B, *features]`, without unit. Has no gradient.
    Raises:
        UserError: other shapes, q < 0, soft spikes, spikes that are negative or not finite.
    Source: Victor & Purpura (1996), J. Neurophysiology 76(2), D^spike[q]; the recursion after
        Sellers (1974), as in their appendix.

    >>> a, b = torch.zeros(50, 1), torch.zeros(50, 1)
    >>> a[10] = 1.0; b[15] = 1.0
    >>> victor_purpura_distance(a, b, q=0.1).item(), victor_purpura_distance(a, b, q=1.0).item()
    (0.5, 2.0)
    """
    check_cost(q)
    one, other = check_pair(a, b, dt, names=("a", "b"))
    for spikes, name in ((one, "a"), (other, "b")):
        check_whole(spikes, name=name)
    first, second = events(one.flatten(1)), events(other.flatten(1))
    if first[0].shape[1] > second[0].shape[1]:  # the loop is over the train with fewer spikes
        first, second = second, first
    return cheapest(first, second, float(q) * float(dt)).to(one.dtype).reshape(one.shape[1:])


def cheapest(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], cost: float) -> Tensor:
    """The least cost `[N]` of N pairs of trains given as events; cost: of a move by one step.

    `G[i, j] = min(G[i-1, j] + 1, G[i, j-1] + 1, G[i-1, j-1] + cost |t_i - t_j|)` row by row. The
    second term looks along the row, where `G[i, j] - j` is a running minimum.
    """
    (steps, number), (others, others_number) = first, second
    columns = torch.arange(others.shape[1] + 1, device=others.device, dtype=torch.float64)
    row = columns.expand(len(number), -1)
    last = others_number.unsqueeze(1)
    found = row.gather(1, last).squeeze(1)
    for i in range(steps.shape[1]):
        move = cost * (others - steps[:, i : i + 1]).abs().double()
        row = torch.cat([row[:, :1] + 1, torch.minimum(row[:, 1:] + 1, row[:, :-1] + move)], 1)
        row = (row - columns).cummin(1).values + columns
        found = torch.where(number == i + 1, row.gather(1, last).squeeze(1), found)
    return found


def check_cost(q: float) -> None:
    """A finite cost >= 0."""
    if isinstance(q, bool) or not isinstance(q, (int, float)):
        raise TypeError(message("expected q as a number (1/ms)", repr(q)))
    if not 0.0 <= q < math.inf:
        raise UserError(message("expected a finite q >= 0 (1/ms)", str(q)))
