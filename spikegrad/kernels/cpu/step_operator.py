"""A generated scan as one differentiable operator."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.kernels.cpu.derivative import refuse
from spikegrad.kernels.cpu.eager import below_autograd, eager
from spikegrad.kernels.emit import Program

__all__ = ["Words", "register", "run", "words_of"]

BLOCK = 1024  # kStepBlock of src/step.h


class Words(NamedTuple):
    """What a call is besides its tensors, as the operators take it: the first nine in the order of
    `Call` in src/step_scan.cpp, then the rows of the learned parameters.

    segment: steps after which states are kept, and everything else computed again; 0: what the
    backward pass reads is kept at every step; keep: a backward pass may follow; groups: vectors in
    a block.
    """

    states: int
    smooth: int
    reals: int
    masks: int
    learned: int
    segment: int
    each: int
    keep: int
    groups: int
    reads_input: int


def words_of(program: Program, *, lanes: int, keep: bool, segment: int) -> list[int]:
    """The list. lanes: of a vector in the program's dtype."""
    words = Words(
        len(program.states),
        len(program.smooth),
        program.reals,
        program.masks,
        len(program.learned),
        segment,
        int(program.each),
        int(keep),
        BLOCK // lanes,
        int(program.reads_input),
    )
    return [*words, *(program.parameters.index(name) for name in program.learned)]


def register() -> None:
    """Shapes and gradients of the operators."""
    torch.library.register_fake("spikegrad::step_scan", fake)
    torch.library.register_fake("spikegrad::step_scan_backward", fake_backward)
    torch.library.register_autograd("spikegrad::step_scan", gradient, setup_context=keep)
    torch.library.register_autograd("spikegrad::step_scan_backward", refuse)


def fake(
    key: int, x: Tensor, starts: Tensor, params: Tensor, words: list[int]
) -> tuple[Tensor, ...]:
    """The outputs' shapes and dtypes: output, kept values, masks, marks, states at the end."""
    w = Words(*words[:10])
    steps, batch, features = x.shape
    columns = features if w.each else batch * features
    blocks = -(-columns // BLOCK) * (batch if w.each else 1)
    every = bool(w.keep and not w.segment)

    def made(there: bool, *shape: int, dtype: torch.dtype = x.dtype) -> Tensor:
        return x.new_empty(shape if there else (0,), dtype=dtype)

    segments = -(-steps // w.segment) if w.segment else 0
    return (
        x.new_empty(x.shape),
        made(every and w.reals > 0, blocks, steps, w.reals, BLOCK),
        made(every and w.masks > 0, blocks, steps, w.masks, w.groups, dtype=torch.int16),
        made(bool(w.keep and w.segment), segments, w.states, batch, features),
        x.new_empty((w.states, batch, features)),
    )


def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads; of an input that it does not read, the number of steps."""
    key, x, starts, params, words = inputs
    _, reals, masks, marks, ends = output
    w = Words(*words[:10])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(reals, masks, marks)
    read = w.reads_input or w.segment
    ctx.save_for_backward(x if read else None, starts, params, reals, masks, marks, ends)
    ctx.key, ctx.words, ctx.steps = key, words, x.shape[0]


def gradient(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Gradients of the input, the states before the first step and the parameters."""
    x, starts, params, reals, masks, marks, after = ctx.saved_tensors
    w = Words(*ctx.words[:10])
    if x is None:  # nobody reads it: something of its shape
        x = starts[:1].expand(ctx.steps, -1, -1)
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        # Whoever asks for the gradient's gradient must reach `refuse`, whatever was saved: the
        # states at the end are part of the graph.
        starts = starts + (after - after.detach())
    incoming, ends = grads[0], grads[4]
    dx, dstarts, sums = below_autograd(
        torch.ops.spikegrad.step_scan_backward,
        ctx.key,
        None if incoming is None else readable(incoming),
        None if ends is None else ends[: w.smooth].contiguous(),
        x,
        starts,
        params,
        reals,
        masks,
        marks,
        ctx.words,
    )
    need = ctx.needs_input_grad
    return (
        None,
        dx if need[1] else None,
        padded(dstarts, w.states) if need[2] else None,
        of_parameters(sums, params, ctx.words[10:]) if need[3] else None,
        None,
    )


def fake_backward(
    key: int,
    grad: Tensor | None,
    grad_ends: Tensor | None,
    x: Tensor,
    starts: Tensor,
    params: Tensor,
    reals: Tensor,
    masks: Tensor,
    marks: Tensor,
    words: list[int],
) -> tuple[Tensor, ...]:
    """The gradients' shapes and dtypes: of the input, the states, the parameters' sums."""
    w = Words(*words[:10])
    _, batch, features = x.shape
    parts = batch if w.each else -(-batch * features // BLOCK)
    sums = (parts, w.learned, features if w.each else 1) if w.learned else (0,)
    return (
        x.new_empty(x.shape),
        x.new_empty((w.smooth, batch, features)),
        x.new_empty(sums, dtype=torch.float64),
    )


def readable(grad: Tensor) -> Tensor:
    """A gradient that is one number everywhere, or dense in `[B, N]`, as the kernel reads it."""
    if torch.compiler.is_compiling():
        return grad.contiguous()
    dense = grad.stride(2) == 1 and grad.stride(1) == grad.shape[2]
    return grad if dense or not any(grad.stride()) else grad.contiguous()


def padded(gradients: Tensor, states: int) -> Tensor:
    """Zeros for the refractory counter."""
    if gradients.shape[0] == states:
        return gradients
    return torch.cat([gradients, gradients.new_zeros((1, *gradients.shape[1:]))])


def of_parameters(sums: Tensor, params: Tensor, rows: list[int]) -> Tensor:
    """`[rows, 1 or N]`, zeros for parameters that are not learned."""
    if not rows:
        return torch.zeros_like(params)
    learned = sums.sum(0).to(params.dtype)
    zero = torch.zeros_like(params[0])
    found = dict(zip(rows, learned.unbind(0), strict=True))
    return torch.stack([found.get(row, zero) for row in range(params.shape[0])])


run = eager(lambda *inputs: torch.ops.spikegrad.step_scan(*inputs), keep, gradient)
