"""A connection with delays: its product along the synapses and the spikes."""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.functional.delayed_linear import check_pending
from spikegrad.kernels.cpu.delayed_operator import run
from spikegrad.kernels.cpu.sparse import usable
from spikegrad.kernels.cpu.spikes import Arrival, Spikes, arrived
from spikegrad.types import Edges, PendingState, Taps

__all__ = ["along_synapses", "delayed_linear"]


def delayed_linear(
    x: Tensor | Spikes,
    state: PendingState | None = None,
    *,
    taps: Taps,
    bias: Tensor | None = None,
    edges: Edges | None = None,
) -> tuple[Tensor, PendingState]:
    """`functional.delayed_linear`, along the synapses of what is not 0; x: also spikes as bits.

    A dense connection is one whose synapses all exist.
    """
    values, first, along = along_synapses(taps, edges)
    if edges is not None:
        usable(values[:, 0], edges)
    given = (  # the kernel reads all steps of numbers, also of one step seen T times
        Arrival(x.contiguous(), None, None, None, x.shape) if isinstance(x, Tensor) else arrived(x)
    )
    if given.bits is not None and given.shape[2] != len(along.starts) - 1:
        expected = f"expected {len(along.starts) - 1} inputs into a connection with delays"
        raise UserError(message(expected, str(given.shape[2])))
    if state is not None:
        check_pending(state, x if isinstance(x, Tensor) else x.whole, along.outputs, taps.most)
    y, pending, _, _ = run(
        given.x,
        given.bits,
        given.support,
        None if state is None else state.current.contiguous(),
        values.contiguous(),
        first.contiguous(),
        along.starts,
        along.targets,
        None if bias is None else bias.contiguous(),
        along.outputs,
        taps.most,
    )
    return y, PendingState(pending)


def along_synapses(taps: Taps, edges: Edges | None) -> tuple[Tensor, Tensor, Edges]:
    """Taps `[E, K]`, their first steps `[E]`, and the synapses: of a dense connection all."""
    values, first = taps.values, taps.first.expand(taps.values.shape[:-1])
    if edges is not None:
        return values, first, edges
    outputs, inputs = values.shape[:2]
    # A trace ignores the memory of a function, and warns.
    made = all_of.__wrapped__ if torch.compiler.is_compiling() else all_of
    return values.transpose(0, 1).flatten(0, 1), first.t().flatten(), made(inputs, outputs)


@lru_cache(maxsize=32)
def all_of(inputs: int, outputs: int) -> Edges:
    """Every synapse."""
    compiling = torch.compiler.is_compiling()
    with nullcontext() if compiling else torch.inference_mode(False):  # it is used again
        starts = torch.arange(inputs + 1, device="cpu") * outputs
        targets = torch.arange(outputs, dtype=torch.int32, device="cpu").repeat(inputs)
    return Edges(starts, targets, outputs)
