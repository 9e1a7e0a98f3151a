"""What torch must know of whole layers: shapes for tracing, gradients, no second derivative."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.kernels.cpu.eager import below_autograd, eager, refuse
from spikegrad.kernels.cpu.schema import define
from spikegrad.kernels.cpu.spikes import CHOICE, TILE, sizes_of, tiles
from spikegrad.kernels.cpu.step_library import PROGRAMS
from spikegrad.kernels.cpu.step_operator import of_parameters, padded
from spikegrad.kernels.cpu.wide import width

__all__ = ["LayerCall", "LayerOutputs", "register", "run"]

SEGMENT_ROWS = 1600  # kSegmentRows of src/connection_backward.h


class LayerCall(NamedTuple):
    """The operator's arguments.

    program: the neurons' key; x: `[T, B, I]`, or one element a place; in_bits, in_support: words
    `[T, B, words]`; weight `[W, I]`; feedback `[W, N]`, or with back_starts `[N + 1]` and
    back_targets `[E]` one number a synapse, or with delays taps `[E, K]` from the step back_first
    `[E]` on, and arriving `[B, most + 1, N]` on its way; first: `[B, W]`, added to the first step;
    states: `[states, 1 or B, 1 or N]`; params: `[parameters, 1 or N]`; keep: a backward pass may
    follow; lean: for it states are kept now and then alone; dense: outputs are wanted as numbers;
    places: bits are passed on with a gradient at the places of the support alone; shares: of ones,
    the largest up to which the products follow the spikes: forward, of the weight, of the input;
    starts: of samples of different length, sorted by it, the first row of every step and the number
    of rows; T and B of x are 1 and that number then, and of all outputs but one a sample. Empty
    where samples have one length; neurons: N. W is N; of neurons with several inputs that many
    times N as whole words (`width`), and x without a weight is `[T, B, inputs * N]`.
    """

    program: int
    x: Tensor
    in_bits: Tensor | None
    in_support: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    feedback: Tensor | None
    back_starts: Tensor | None
    back_targets: Tensor | None
    back_first: Tensor | None
    arriving: Tensor | None
    first: Tensor | None
    states: Tensor
    params: Tensor
    keep: bool
    lean: bool
    dense: bool
    places: bool
    shares: list[float]
    starts: list[int]
    neurons: int

    @property
    def batch(self) -> int:
        """How many samples there are."""
        if self.starts:
            return self.starts[1]
        batch: int = sizes_of(self.x, self.in_bits, self.weight)[1]
        return batch


FIRST, LAST = LayerCall._fields.index("x"), LayerCall._fields.index("params") + 1
"""Where the tensors stand, which the backward pass reads."""


class LayerOutputs(NamedTuple):
    """What the operator returns; empty tensors stand for what a call does not have.

    y: outputs `[T, B, N]`, or an edge of the graph where bits alone are passed on; last: the spikes
    of the last step `[B, N]`, with feedback; reals, masks, current: what is kept of every step;
    bits, support: words `[T, B, tiles]`; packed: those of an input that came as numbers; marks:
    states at the start of every segment; ends: states `[states, B, N]`; choice: which way the
    product went, spikes, numbers that are not 0; steady: a second edge `[B, N]`; pending: what
    is on its way at the end, as `arriving`.
    """

    y: Tensor
    last: Tensor
    reals: Tensor
    masks: Tensor
    current: Tensor
    bits: Tensor
    support: Tensor
    packed: Tensor
    marks: Tensor
    ends: Tensor
    choice: Tensor
    steady: Tensor
    pending: Tensor


def register() -> None:
    """Schemas, shapes and gradients of the operators."""
    define("layer", LayerCall, " ".join(LayerOutputs._fields))
    define("layer_backward", fake_layer_backward, "dx dweight dbias dfeedback dfirst dstates sums")
    torch.library.register_fake("spikegrad::layer", fake_layer)
    torch.library.register_fake("spikegrad::layer_backward", fake_layer_backward)
    torch.library.register_autograd("spikegrad::layer", gradient, setup_context=keep_for_backward)
    torch.library.register_autograd("spikegrad::layer_backward", refuse)


def fake_layer(*args: Any) -> tuple[Tensor, ...]:
    """The outputs' shapes and dtypes."""
    call = LayerCall(*args)
    p, x, params = PROGRAMS[call.program], call.x, call.params
    steps, each, inputs = sizes_of(x, call.in_bits, call.weight)
    outputs = call.neurons
    one, rows = (call.batch, outputs), (tiles(outputs), steps * each)
    words = (steps, each, tiles(outputs))
    static = x.dim() == 3 and steps > 1 and x.stride(0) == 0
    packs = call.weight is not None and call.in_bits is None and not static
    long = len(call.starts) - 1 if call.starts else steps
    segments = -(-long // max(1, SEGMENT_ROWS // call.batch)) if call.keep and call.lean else 0
    kept, states = call.keep and not call.lean, len(p.states)
    support = p.spikes and p.support and (call.keep or call.places)

    def made(there: bool, shape: tuple[int, ...], dtype: torch.dtype = params.dtype) -> Tensor:
        return params.new_empty(shape if there else (0,), dtype=dtype)

    y = params.new_empty((steps, each, outputs))
    if not call.dense and p.spikes:
        many = (torch.library.get_ctx().new_dynamic_size(),) if call.places else y.shape
        y = params.new_empty(()).expand(many)
    return LayerOutputs(
        y=y,
        last=made(call.feedback is not None, one),
        reals=made(kept and p.reals > 0, (p.reals, *rows, TILE)),
        masks=made(kept and p.masks > 0, (p.masks, *rows), torch.int64),
        current=made(kept and p.reads_input, (p.inputs * rows[0], rows[1], TILE)),
        bits=made(p.spikes, words, torch.int64),
        support=made(support, words, torch.int64),
        packed=x.new_empty((steps, each, tiles(inputs)) if packs else (0,), dtype=torch.int64),
        marks=made(segments > 0, (segments, states, tiles(outputs) * call.batch * TILE)),
        ends=params.new_empty((states, *one)),
        choice=x.new_empty((CHOICE,), dtype=torch.int64),
        steady=params.new_empty(()).expand(one) if call.places else made(False, one),
        pending=made(False, one) if call.arriving is None else made(True, call.arriving.shape),
    )


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads, and no more."""
    call, out = LayerCall(*inputs), LayerOutputs(*output)
    p, lean = PROGRAMS[call.program], call.lean
    bits = "spikes" in p.given or lean or call.feedback is not None
    support = p.within or "support" in p.given or call.places or call.feedback is not None
    ctx.set_materialize_grads(False)
    x, arriving = call.x, call.arriving
    if call.weight is None and not lean:  # of a current its shape is enough
        x = x.new_zeros(()).expand(x.shape)
    if arriving is not None:  # and of this, too
        arriving = arriving.new_zeros(()).expand(arriving.shape)
    ctx.call = inputs[:FIRST], inputs[LAST:]
    ctx.save_for_backward(
        x,
        out.packed if call.in_bits is None and out.packed.numel() else call.in_bits,
        call.in_support,
        call.weight,
        call.bias if lean else None,
        call.feedback,
        call.back_starts,
        call.back_targets,
        call.back_first,
        arriving,
        call.first if lean else None,
        call.states,
        call.params,
        out.reals,
        out.masks,
        out.current,
        out.bits if bits else None,
        out.support if support else None,
        out.marks,
        out.choice,
    )


def saved_call(ctx: Any) -> tuple[LayerCall, tuple[Tensor, ...]]:
    """The call, and the kept values in the order of the operator's arguments."""
    before, behind = ctx.call
    tensors, many = ctx.saved_tensors, LAST - FIRST
    call = LayerCall(*before, *tensors[:many], *behind)
    kept = list(tensors[many:])
    for i, part in enumerate(kept):
        if part is None:
            kept[i] = call.x.new_empty((0,), dtype=torch.int64)
    return call, tuple(kept)


def gradient(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Gradients of input, weights, starting states and parameters."""
    call, kept = saved_call(ctx)
    g = LayerOutputs(*grads)  # type: ignore[arg-type]
    need = LayerCall(*ctx.needs_input_grad)
    p = PROGRAMS[call.program]
    delayed = call.arriving is not None and (need.feedback or need.arriving)
    ends = None if g.ends is None else g.ends[: len(p.smooth)]
    # A compiled graph that ends here has zeros as gradients of what the call did not have, too.
    last = g.last if call.feedback is not None else None
    steady = g.steady if call.places else None
    pending = g.pending if call.arriving is not None else None
    dx, dweight, dbias, dfeedback, dfirst, dstates, sums = below_autograd(
        torch.ops.spikegrad.layer_backward,
        call.program,
        g.y,
        *[None if part is None else part.contiguous() for part in (last, ends, steady, pending)],
        *call[FIRST:LAST],
        *kept,
        need.x or delayed,
        need.weight or need.bias,
        need.feedback and call.arriving is None,
        need.first,
        need.states,
        call.lean,
        call.shares,
        call.starts,
        call.neurons,
    )
    made: dict[str, Any] = {
        "x": dx if need.x else None,
        "weight": dweight if need.weight else None,
        "bias": dbias if need.bias else None,
        "feedback": dfeedback if need.feedback else None,
        "first": dfirst if need.first else None,
        "states": of_states(padded(dstates, p), call.states) if need.states else None,
        "params": of_tiles(sums, call.params, p) if need.params else None,
    }
    if delayed:
        bits = kept[LayerOutputs._fields.index("bits") - LayerOutputs._fields.index("reals")]
        dtaps, darriving = of_delays(call, bits, dx, g.pending, bool(need.feedback))
        made |= {"feedback": dtaps, "arriving": darriving if need.arriving else None}
    return tuple([made.get(name) for name in LayerCall._fields])


def of_delays(
    call: LayerCall, bits: Tensor, dx: Tensor, pending: Tensor | None, need_taps: bool
) -> tuple[Tensor | None, Tensor]:
    """The gradients of the taps and of what was on its way, from that of the currents.

    What is sent at a step arrives one step later at the soonest; pending: the gradient of what is
    on its way at the end, None for 0.
    """
    assert call.arriving is not None
    many = call.arriving.shape[1]
    later = dx.new_zeros(call.arriving.shape) if pending is None else pending
    times = torch.cat((dx, later.transpose(0, 1)))
    dtaps = None
    if need_taps:
        steps = dx.shape[0]
        (_, dtaps) = below_autograd(
            torch.ops.spikegrad.delayed_linear_backward,
            times[1 : steps + 1],
            times[steps + 1 :].transpose(0, 1).contiguous(),
            dx.new_empty(0),
            bits,
            None,
            call.feedback,
            call.back_first,
            call.back_starts,
            call.back_targets,
            call.neurons,
            many - 1,
            torch.zeros(CHOICE, dtype=torch.int64),  # of spikes
            False,
            True,
        )
    return dtaps, times[:many].transpose(0, 1)


def of_states(gradients: Tensor, states: Tensor) -> Tensor:
    """`[states, B, N]` as the starts were given, which may be the same for all."""
    for dim in (1, 2):
        if states.shape[dim] == 1 and gradients.shape[dim] > 1:
            gradients = gradients.sum(dim, keepdim=True)
    return gradients


def of_tiles(sums: Tensor, params: Tensor, program: Any) -> Tensor:
    """The parameters' gradients from sums `[tiles, groups, learned, 64]`."""
    if not program.learned:
        return torch.zeros_like(params)
    total = sums.sum(1).permute(1, 0, 2).flatten(1)
    if program.each:
        return of_parameters(total[:, : params.shape[1]], params, program)
    return of_parameters(total.sum(1, keepdim=True), params, program)


def fake_layer_backward(
    program: int,
    grad_y: Tensor | None,
    grad_last: Tensor | None,
    grad_ends: Tensor | None,
    grad_steady: Tensor | None,
    grad_pending: Tensor | None,
    x: Tensor,
    in_bits: Tensor | None,
    in_support: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    feedback: Tensor | None,
    back_starts: Tensor | None,
    back_targets: Tensor | None,
    back_first: Tensor | None,
    arriving: Tensor | None,
    first: Tensor | None,
    states: Tensor,
    params: Tensor,
    reals: Tensor,
    masks: Tensor,
    current: Tensor,
    bits: Tensor,
    support: Tensor,
    marks: Tensor,
    choice: Tensor,
    need_x: bool,
    need_weight: bool,
    need_feedback: bool,
    need_first: bool,
    need_states: bool,
    lean: bool,
    shares: list[float],
    starts: list[int],
    neurons: int,
) -> tuple[Tensor, ...]:
    """The gradients' shapes and dtypes."""
    p = PROGRAMS[program]
    _, batch, inputs = sizes_of(x, in_bits, weight)
    batch = starts[1] if starts else batch
    wide = width(p.inputs, neurons)

    def made(there: bool, *shape: int, dtype: torch.dtype = params.dtype) -> Tensor:
        return params.new_empty(shape if there else (0,), dtype=dtype)

    sums = (tiles(neurons), -(-batch // 32), len(p.learned), TILE)
    return (
        made(need_x, *x.shape),
        made(need_weight, wide, inputs),
        made(need_weight, wide),
        made(False) if feedback is None else made(need_feedback, *feedback.shape),
        made(need_first, batch, wide),
        params.new_empty((len(p.smooth) if need_states else 0, batch, neurons)),
        made(bool(p.learned), *sums, dtype=torch.float64),
    )


run = eager(lambda *inputs: torch.ops.spikegrad.layer(*inputs), keep_for_backward, gradient)
