"""A connection with delays: its product along the synapses and the spikes."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from spikegrad.functional.delayed_linear import check_pending
from spikegrad.kernels.cpu.delayed_operator import run
from spikegrad.kernels.cpu.sparse import usable
from spikegrad.types import Edges, PendingState, Taps

__all__ = ["delayed_linear"]


def delayed_linear(
    x: Tensor,
    state: PendingState | None = None,
    *,
    taps: Taps,
    bias: Tensor | None = None,
    edges: Edges | None = None,
) -> tuple[Tensor, PendingState]:
    """`functional.delayed_linear`, along the synapses of what is not 0.

    A dense connection is one whose synapses all exist.
    """
    values, first = taps.values, taps.first.expand(taps.values.shape[:-1])
    if edges is None:
        outputs, inputs = values.shape[:2]
        edges = all_of(inputs, outputs)
        values, first = values.transpose(0, 1).flatten(0, 1), first.t().flatten()
    else:
        usable(values[:, 0], edges)
    if state is not None:
        check_pending(state, x, edges.outputs, taps.most)
    y, pending, _, _ = run(
        x.contiguous(),
        None if state is None else state.current.contiguous(),
        values.contiguous(),
        first.contiguous(),
        edges.starts,
        edges.targets,
        None if bias is None else bias.contiguous(),
        edges.outputs,
        taps.most,
    )
    return y, PendingState(pending)


@lru_cache(maxsize=32)
def all_of(inputs: int, outputs: int) -> Edges:
    """Every synapse."""
    starts = torch.arange(inputs + 1) * outputs
    return Edges(starts, torch.arange(outputs, dtype=torch.int32).repeat(inputs), outputs)
