"""What torch must know of whole layers: shapes for tracing, gradients, no second derivative."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from spikegrad.kernels.cpu.derivative import amplitude_of, evaluated, own_function, refuse
from spikegrad.kernels.cpu.eager import below_autograd, eager
from spikegrad.kernels.cpu.library import COMPACT, KINDS, PARAMETERS, RESETS
from spikegrad.kernels.cpu.neuron import few
from spikegrad.kernels.cpu.spikes import TILE, sizes_of, tiles
from spikegrad.surrogate.family import Family

__all__ = ["register", "run"]

SEGMENT_ROWS = 1600  # kSegmentRows of src/connection_backward.h


def register() -> None:
    """Shapes and gradients of the operators."""
    torch.library.register_fake("spikegrad::layer", fake_layer)
    torch.library.register_fake("spikegrad::layer_backward", fake_layer_backward)
    torch.library.register_autograd("spikegrad::layer", gradient, setup_context=keep_for_backward)
    torch.library.register_autograd("spikegrad::layer_backward", refuse)


def fake_layer(x: Tensor, in_bits: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    """The outputs' shapes and dtypes."""
    _, weight, _, feedback, *_, params = rest[:10]
    kind, _, _, refractory, _, family, keep, lean, dense, graph, places = rest[11]
    steps, batch, inputs = sizes_of(x, in_bits, weight)
    outputs = inputs if weight is None else weight.shape[0]
    syn, ada, fire = (bool(kind & KINDS[k]) for k in ("synapse", "adaptive", "spiking"))
    one, rows = (batch, outputs), (tiles(outputs), steps * batch, TILE)
    words = (steps, batch, tiles(outputs))
    static = x.dim() == 3 and steps > 1 and x.stride(0) == 0
    packs = weight is not None and in_bits is None and not static
    states = 1 + syn + ada + (refractory > 0)
    marks = -(-steps // max(1, SEGMENT_ROWS // batch)) if lean else int(bool(keep))
    marks, kept = marks if graph else 0, graph and not lean

    def made(there: bool, shape: tuple[int, ...], dtype: torch.dtype = params.dtype) -> Tensor:
        return params.new_empty(shape if there else (0,), dtype=dtype)

    y = params.new_empty((steps, batch, outputs))
    if not dense and fire:
        many = (torch.library.get_ctx().new_dynamic_size(),) if places else y.shape
        y = params.new_empty(()).expand(many)
    return (
        y,
        made(feedback is not None, one),
        made(kept and (fire or keep), rows),
        made(kept and syn and keep, rows),
        made(kept and ada, rows),
        made(kept and refractory > 0, rows, torch.uint8),
        made(kept and keep, rows),
        made(fire, words, torch.int64),
        made(fire and family in COMPACT, words, torch.int64),
        x.new_empty((steps, batch, tiles(inputs)) if packs else (0,), dtype=torch.int64),
        made(marks > 0, (marks, states, tiles(outputs) * batch * TILE)),
        made(syn, one),
        made(True, one),
        made(ada, one),
        made(refractory > 0, one, torch.int32),
        x.new_empty((3,), dtype=torch.int64),
        params.new_empty(()).expand(one) if places else made(False, one),
    )


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads, and no more."""
    x, in_bits, in_support, weight, bias, feedback, first, _, v0, *_ = inputs
    params, slope, words, numbers = inputs[11:]
    _, _, u, i, a, ready, current, bits, support, packed, marks, *_, choice, _ = output
    reset, lean, places = words[1], words[7], words[10]
    again, part = feedback is not None or lean, few(words)
    if in_bits is None and packed.numel():
        in_bits = packed
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        x,
        in_bits,
        in_support,
        weight,
        bias if lean else None,
        feedback,
        first if lean else None,
        v0,
        params,
        slope,
        u,
        i,
        a,
        ready,
        current,
        bits if again or (part and RESETS[reset] == "zero") else None,
        support if feedback is not None or part or places else None,
        marks,
        choice,
    )
    ctx.words, ctx.numbers, ctx.own = words, numbers, own_function(words[4])


def gradient(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Gradients of input, weights, starting state, parameters and slope."""
    x, in_bits, in_support, weight, bias, feedback, first, v0, params, slope, *kept = (
        ctx.saved_tensors
    )
    kind, _, _, _, _, family, keep, *_ = ctx.words
    nothing = x.new_empty((0,), dtype=torch.int64)
    u, i, a, ready, current, bits, support, marks, choice = (
        nothing if part is None else part for part in kept
    )
    spiking = bool(kind & KINDS["spiking"])
    amplitude = amplitude_of(slope, *ctx.numbers[5:]) if spiking else slope
    derivative = None
    if family < 0 and spiking:
        derivative = own_derivative(ctx.own, u, a, params, slope, amplitude)
    need = ctx.needs_input_grad
    outputs = x.shape[2] if weight is None else weight.shape[0]
    ends = [None if g is None else g.contiguous() for g in (grads[k] for k in (1, 11, 12, 13))]
    out = below_autograd(
        torch.ops.spikegrad.layer_backward,
        grads[0],
        *ends,
        x,
        in_bits,
        in_support,
        weight,
        bias,
        feedback,
        first,
        v0,
        params,
        slope,
        amplitude,
        derivative,
        u,
        i,
        a,
        ready,
        current,
        bits,
        support,
        marks,
        choice,
        need[12],
        need[0],
        need[3] or need[4],
        need[5],
        need[6],
        ctx.words,
        ctx.numbers,
        None if grads[16] is None else grads[16].contiguous(),
    )
    return arranged(out, need, kind, params, slope, keep, outputs)


def arranged(
    out: tuple[Tensor, ...],
    need: tuple[bool, ...],
    kind: int,
    params: Tensor,
    slope: Tensor,
    keep: int,
    outputs: int,
) -> tuple[Any, ...]:
    """The operator's gradients in the order of the forward operator's arguments."""
    dx, dweight, dbias, dfeedback, dfirst, di0, dv0, da0, sums = out
    dparams = dslope = None
    if keep:
        total = sums.sum(1).permute(1, 0, 2).flatten(1)[:, :outputs].to(params.dtype)
        dparams = total[:-1] if params.shape[1] > 1 else total[:-1].sum(1, keepdim=True)
        dslope = total[-1] if slope.shape[0] > 1 else total[-1].sum(0, keepdim=True)

    def asked(gradient: Tensor, position: int) -> Tensor | None:
        return gradient if need[position] else None

    return (
        asked(dx, 0),
        None,
        None,
        asked(dweight, 3),
        asked(dbias, 4),
        asked(dfeedback, 5),
        asked(dfirst, 6),
        asked(di0, 7) if kind & KINDS["synapse"] else None,
        asked(dv0, 8),
        asked(da0, 9) if kind & KINDS["adaptive"] else None,
        None,
        dparams if need[11] else None,
        dslope if need[12] else None,
        None,
        None,
    )


def own_derivative(
    own: Family | None, u: Tensor, a: Tensor, params: Tensor, slope: Tensor, amplitude: Tensor
) -> Tensor:
    """A user's derivative at every membrane, `[tiles, T B, 64]`."""

    def tiled(value: Tensor) -> Tensor:
        if value.shape[0] == 1:
            return value
        filled = pad(value, (0, u.shape[0] * TILE - value.shape[0]), value=1.0)
        return filled.reshape(-1, 1, TILE)

    theta = tiled(params[PARAMETERS.index("threshold")])
    if a.numel():
        theta = theta + tiled(params[PARAMETERS.index("kappa")]) * a
    return evaluated(own, u - theta, tiled(slope), tiled(amplitude))


def fake_layer_backward(*args: Any) -> tuple[Tensor, ...]:
    """The gradients' shapes and dtypes."""
    x, in_bits, weight, feedback, params = args[5], args[6], args[8], args[10], args[13]
    need_x, need_weight, need_feedback, need_first, words = args[27:32]
    kind, keep = words[0], bool(words[6])
    _, batch, inputs = sizes_of(x, in_bits, weight)
    outputs = inputs if weight is None else weight.shape[0]

    def made(there: bool, *shape: int, dtype: torch.dtype = params.dtype) -> Tensor:
        return params.new_empty(shape if there else (0,), dtype=dtype)

    return (
        made(need_x, *x.shape),
        made(need_weight, outputs, inputs),
        made(need_weight, outputs),
        made(need_feedback and feedback is not None, outputs, outputs),
        made(need_first, batch, outputs),
        made(bool(kind & KINDS["synapse"]), batch, outputs),
        made(True, batch, outputs),
        made(bool(kind & KINDS["adaptive"]), batch, outputs),
        made(keep, tiles(outputs), -(-batch // 32), 11, TILE, dtype=torch.float64),
    )


run = eager(lambda *inputs: torch.ops.spikegrad.layer(*inputs), keep_for_backward, gradient)
