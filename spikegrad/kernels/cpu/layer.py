"""A connection, its feedback and its neuron in one native call, from spikes to spikes.

Between two such layers spikes travel as bits (`Spikes`): numbers [T, B, N] are made only where
something else reads them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear as product

from spikegrad.checks import check_state_tensor
from spikegrad.functional.recurrent import check_feedback
from spikegrad.kernels.cpu.crossover import crossover, crossover_of
from spikegrad.kernels.cpu.layer_operator import run
from spikegrad.kernels.cpu.library import COMPACT, KINDS
from spikegrad.kernels.cpu.neuron import Neuron, described, usual
from spikegrad.kernels.cpu.spikes import Arrival, Spikes, arrived
from spikegrad.types import RecurrentState, State

__all__ = ["layer", "recurrent"]


def recurrent(
    x: Tensor,
    state: RecurrentState | None = None,
    *,
    weight: Tensor,
    neuron: partial[Any],
    lean: bool = False,
) -> tuple[Tensor, RecurrentState]:
    """`functional.recurrent` in one call; neuron: a scan of the specification, arguments bound."""
    check_feedback(weight, x)
    scan, args = neuron.func.__name__, neuron.keywords
    return layer(x, state, weight=None, feedback=weight, scan=scan, args=args, lean=lean)


def layer(
    x: Tensor | Spikes,
    state: State = None,
    *,
    weight: Tensor | None,
    bias: Tensor | None = None,
    feedback: Tensor | None = None,
    scan: str,
    args: dict[str, Any],
    lean: bool = False,
    pass_on: bool = False,
    witness: list[Any] | None = None,
) -> tuple[Any, State]:
    """`linear`, then `scan` with args, fed back through a weight if there is one.

    x: `[T, B, I]`, or the current `[T, B, N]` without a weight; state: the neuron's, with feedback
    a `RecurrentState`; lean: keep little for the backward pass and compute the rest again;
    pass_on: return `Spikes` instead of numbers; witness: takes what the kernel chose. A weight that
    is not finite gives what the reference gives where T times B is at least 256; in smaller calls,
    and in feedback, what stands behind a silent neuron has no effect.
    """
    given = arrived(x)
    outputs = given.shape[2] if weight is None else weight.shape[0]
    inner, last = state if feedback is not None and state is not None else (state, None)
    n = usual(scan, given.x.dtype, args) if inner is None else None
    n = n or described(scan, given.current(outputs), inner, args)
    first = None
    if feedback is not None and last is not None:
        check_state_tensor(last, "state.s", given.current(outputs), given.x.dtype)
        first = product(last, feedback)
    out = call(
        given,
        weight,
        bias,
        feedback,
        first,
        n,
        lean=lean and n.shape.family >= 0,
        dense=not pass_on,
    )
    if witness is not None:
        witness.append((out[15], n, given))
    y, end, i, v, a, silent = out[0], out[1], *out[11:15]
    after: State = n.wrap(*(p if p.numel() else None for p in (i, v, a, silent)))
    if feedback is not None:
        after = RecurrentState(after, end)
    if pass_on and n.kind & KINDS["spiking"]:
        return Spikes(y, out[7], out[8] if out[8].numel() else None, outputs, out[16]), after
    return y, after


def call(
    given: Arrival,
    weight: Tensor | None,
    bias: Tensor | None,
    feedback: Tensor | None,
    first: Tensor | None,
    n: Neuron,
    *,
    lean: bool = False,
    dense: bool = True,
) -> tuple[Tensor, ...]:
    """The operator."""
    rows, inputs = given.shape[0] * given.shape[1], given.shape[2]
    shares = crossover(inputs, inputs) if weight is None else crossover_of(weight, inputs, rows)
    # A trace needs shapes that do not depend on values.
    free = torch.is_grad_enabled() and not torch.compiler.is_compiling()
    places = free and not dense and n.shape.family in COMPACT
    return run(
        given.x,
        given.bits,
        given.support,
        None if weight is None else weight.contiguous(),
        None if bias is None else bias.contiguous(),
        None if feedback is None else feedback.contiguous(),
        None if first is None else first.contiguous(),
        *n.starts,
        n.params,
        n.slope,
        n.words(lean=lean, dense=dense, places=places),
        n.numbers(shares),
    )
