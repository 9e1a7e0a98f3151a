"""A connection, its feedback and its neuron in one native call, from spikes to spikes.

Between two such layers spikes travel as bits (`Spikes`): numbers [T, B, N] are made only where
something else reads them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear as product

from spikegrad.checks import check_state_tensor
from spikegrad.functional.delayed_linear import check_taps
from spikegrad.functional.delayed_recurrent import begun, check_square
from spikegrad.functional.recurrent import check_feedback
from spikegrad.kernels.cpu.crossover import crossover
from spikegrad.kernels.cpu.delayed import along_synapses
from spikegrad.kernels.cpu.layer_operator import LayerOutputs, run
from spikegrad.kernels.cpu.neuron import Neuron, named, usual
from spikegrad.kernels.cpu.sparse import sparse_linear, usable
from spikegrad.kernels.cpu.spikes import Arrival, Spikes, arrived
from spikegrad.kernels.cpu.wide import Delays, Feedback, spread
from spikegrad.kernels.obstacles import definition_of
from spikegrad.step import Step
from spikegrad.types import DelayedFeedbackState, Edges, RecurrentState, State, Taps

__all__ = ["Met", "delayed_recurrent", "layer", "recurrent"]


class Met(NamedTuple):
    """What a kernel met in one call, for those who ask. choice: which way the product went."""

    choice: Tensor
    neuron: Neuron
    given: Arrival


def recurrent(
    x: Tensor,
    state: RecurrentState | None = None,
    *,
    weight: Tensor,
    edges: Edges | None = None,
    neuron: str | Step,
    args: dict[str, Any],
    lean: bool = False,
) -> tuple[Tensor, RecurrentState]:
    """`functional.recurrent` in one call; neuron: a step, or a scan of `functional` by its name."""
    check_feedback(weight, x, edges, len(definition_of(neuron).inputs))
    return layer(
        x.flatten(2),
        state,
        weight=None,
        feedback=weight,
        feedback_edges=edges,
        neuron=neuron,
        args=args,
        lean=lean,
    )


def layer(
    x: Tensor | Spikes,
    state: State = None,
    *,
    weight: Tensor | None,
    bias: Tensor | None = None,
    feedback: Tensor | None = None,
    edges: Edges | None = None,
    feedback_edges: Edges | None = None,
    neuron: str | Step,
    args: dict[str, Any],
    lean: bool = False,
    pass_on: bool = False,
    witness: list[Any] | None = None,
    starts: list[int] | None = None,
) -> tuple[Any, State]:
    """`linear`, then a scan with args, fed back through a weight if there is one.

    x: `[T, B, I]`, or without a weight the current `[T, B, N]`, of neurons with several inputs
    `[T, B, inputs * N]`, which a weight and a feedback have as outputs then; or with starts rows
    `[1, R, I]` of samples of different length (`ragged.Packing`: the first row of every step, and
    R); state: the neuron's, with feedback a `RecurrentState`; edges, feedback_edges: of a weight or
    feedback `[E]`, whose product runs before the neurons, or step by step; neuron: a step, or a
    scan of `functional` by its name; lean: keep little for the backward pass and compute the rest
    again; pass_on: return `Spikes` instead of numbers; witness: takes what the kernel met, a `Met`.
    A weight that is not finite gives what the reference gives where T times B is at least 256; in
    smaller calls, along some synapses, and in feedback, what stands behind a silent neuron has no
    effect.
    Raises NotLowered or BuildError where the neuron has no program.
    """
    seen: list[Any] = []
    if weight is not None and edges is not None:
        x = sparse_linear(x, weight=weight, bias=bias, edges=edges, witness=seen)
        weight = bias = None
    given = arrived(x)
    inputs = len(definition_of(neuron).inputs)
    outputs = (given.shape[2] if weight is None else weight.shape[0]) // max(1, inputs)
    inner, last = state if feedback is not None and state is not None else (state, None)
    n = usual("rows", neuron, given.x.dtype, args) if inner is None else None
    first = None
    if n is None or last is not None:
        batch = starts[1] if starts else given.shape[1]
        like = given.x.new_zeros(()).expand(1, batch, outputs)
        if n is None:
            several = like.unsqueeze(2).expand(1, batch, inputs, outputs) if inputs else like
            n = named("rows", neuron, several, inner, args)
        if feedback is not None and last is not None:
            check_state_tensor(last, "state.s", like, given.x.dtype)
            first = fed_first(last, feedback, feedback_edges)
    fed = Feedback(feedback, feedback_edges, first)
    if inputs > 1:
        fed = fed.spread(inputs)
        weight, bias = (None if part is None else spread(part, inputs) for part in (weight, bias))
    out = call(
        given,
        weight,
        bias,
        fed,
        n,
        lean=lean,
        dense=not pass_on,
        starts=starts or [],
        neurons=outputs,
    )
    if witness is not None:
        choice, _, came = seen[0] if seen else (out.choice, None, given)
        witness.append(Met(choice, n, came))
    after = n.wrap(out.ends)
    if feedback is not None:
        after = RecurrentState(after, out.last)
    if pass_on and n.loaded.program.spikes:
        support = out.support if out.support.numel() else None
        return Spikes(out.y, out.bits, support, outputs, out.steady), after
    return out.y, after


def delayed_recurrent(
    x: Tensor,
    state: DelayedFeedbackState | None = None,
    *,
    taps: Taps,
    edges: Edges | None = None,
    neuron: str | Step,
    args: dict[str, Any],
) -> tuple[Tensor, DelayedFeedbackState]:
    """`functional.delayed_recurrent` in one call; neuron, args: as of `recurrent`."""
    check_square(taps, edges, x)
    check_taps(taps)
    inner, current = begun(state, x, taps.most)
    values, first, along = along_synapses(taps, edges)
    if edges is not None:
        usable(values[:, 0], edges)
    given, neurons = arrived(x), x.shape[2]
    n = usual("rows", neuron, x.dtype, args) if inner is None else None
    if n is None:
        n = named("rows", neuron, x.new_zeros(()).expand(1, x.shape[1], neurons), inner, args)
    fed = Feedback(values.contiguous(), along, None, Delays(first, current))
    out = call(given, None, None, fed, n, starts=[], neurons=neurons)
    return out.y, DelayedFeedbackState(n.wrap(out.ends), out.pending)


def fed_first(last: Tensor, feedback: Tensor, edges: Edges | None) -> Tensor:
    """What the spikes `[B, N]` before the first step add to its current."""
    if edges is None:
        return product(last, feedback)
    return sparse_linear(last.unsqueeze(0), weight=feedback, edges=edges).squeeze(0)


def call(
    given: Arrival,
    weight: Tensor | None,
    bias: Tensor | None,
    fed: Feedback,
    n: Neuron,
    *,
    lean: bool = False,
    dense: bool = True,
    starts: list[int],
    neurons: int,
) -> LayerOutputs:
    """The operator, with connections as `wide.py` lays them out."""
    feedback, edges, first, delays = fed
    if feedback is not None and edges is not None and delays is None:
        usable(feedback, edges)
    inputs = given.shape[2]
    shares = crossover(inputs, inputs if weight is None else weight.shape[0])
    p = n.loaded.program
    arriving = None if delays is None else delays.arriving
    keep = n.wanted(given.x, weight, bias, feedback, first, arriving)
    # A trace needs shapes that do not depend on values.
    places = keep and not dense and p.spikes and p.support and not torch.compiler.is_compiling()
    places = places and not starts
    return LayerOutputs(
        *run(
            n.loaded.key,
            given.x,
            given.bits,
            given.support,
            None if weight is None else weight.contiguous(),
            None if bias is None else bias.contiguous(),
            None if feedback is None else feedback.contiguous(),
            None if edges is None else edges.starts,
            None if edges is None else edges.targets,
            None if delays is None else delays.first.contiguous(),
            None if delays is None else delays.arriving.contiguous(),
            None if first is None else first.contiguous(),
            n.states.contiguous(),
            n.params,
            keep,
            lean,
            dense,
            places,
            list(shares),
            starts,
            neurons,
        )
    )
