"""A connection alone: `functional.linear` along the spikes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.kernels.cpu.crossover import crossover
from spikegrad.kernels.cpu.linear_operator import run
from spikegrad.kernels.cpu.sparse import sparse_linear
from spikegrad.kernels.cpu.spikes import Spikes, arrived
from spikegrad.types import Edges

__all__ = ["linear"]


def linear(
    x: Tensor | Spikes,
    *,
    weight: Tensor,
    bias: Tensor | None = None,
    edges: Edges | None = None,
    witness: list[Any] | None = None,
) -> Tensor:
    """`functional.linear`, along the spikes where x is sparse zeros and ones.

    x: `[T, B, I]`; weight: `[N, I]`, or `[E]` with edges; bias: `[N]`; witness: takes what the
    kernel chose. Returns `[T, B, N]`.
    """
    if edges is not None:
        return sparse_linear(x, weight=weight, bias=bias, edges=edges, witness=witness)
    given = arrived(x if isinstance(x, Spikes) else x.contiguous())
    shares = crossover(given.shape[2], weight.shape[0])
    y, _, choice = run(
        given.x,
        given.bits,
        given.support,
        weight.contiguous(),
        None if bias is None else bias.contiguous(),
        shares,
        given.steady,
    )
    if witness is not None:
        witness.append((choice, None, given))
    return y
