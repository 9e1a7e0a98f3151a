"""A connection with delays: its product along the synapses and the spikes."""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.functional.delayed_linear import check_pending
from spikegrad.kernels.cpu import delayed_operator, learned_operator
from spikegrad.kernels.cpu.sparse import usable
from spikegrad.kernels.cpu.spikes import Arrival, Spikes, arrived
from spikegrad.types import Edges, LearnedDelays, PendingState, Taps

__all__ = ["along_synapses", "delayed_linear"]


def delayed_linear(
    x: Tensor | Spikes,
    state: PendingState | None = None,
    *,
    taps: Taps | LearnedDelays,
    bias: Tensor | None = None,
    edges: Edges | None = None,
) -> tuple[Tensor, PendingState]:
    """`functional.delayed_linear`, along the synapses of what is not 0; x: also spikes as bits.

    A dense connection with given taps is one whose synapses all exist. Taps of `LearnedDelays` are
    made where they are read.
    """
    learned = isinstance(taps, LearnedDelays)
    weight = taps.weight if isinstance(taps, LearnedDelays) else taps.values
    outputs, inputs = weight.shape[:2] if edges is None else (edges.outputs, edges.inputs)
    if edges is not None:
        usable(weight if learned else weight[:, 0], edges)
    given = (  # the kernel reads all steps of numbers, also of one step seen T times
        Arrival(x.contiguous(), None, None, None, x.shape) if isinstance(x, Tensor) else arrived(x)
    )
    if given.bits is not None and given.shape[2] != inputs:
        expected = f"expected {inputs} inputs into a connection with delays"
        raise UserError(message(expected, str(given.shape[2])))
    if state is not None:
        check_pending(state, x if isinstance(x, Tensor) else x.whole, outputs, taps.most)
    pending = None if state is None else state.current.contiguous()
    entering = (given.x, given.bits, given.support, pending)
    bias = None if bias is None else bias.contiguous()
    if isinstance(taps, LearnedDelays):
        y, pending, _, _ = learned_operator.run(
            *entering,
            weight.contiguous(),
            taps.delay.expand(weight.shape).contiguous(),
            None if edges is None else edges.starts,
            None if edges is None else edges.targets,
            bias,
            inputs,
            outputs,
            taps.most,
            taps.sigma or 0.0,
        )
        return y, PendingState(pending)
    values, first, along = along_synapses(taps, edges)
    y, pending, _, _ = delayed_operator.run(
        *entering,
        values.contiguous(),
        first.contiguous(),
        along.starts,
        along.targets,
        bias,
        outputs,
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
