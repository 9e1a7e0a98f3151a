"""A generated scan as one differentiable operator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.eager import below_autograd, eager, refuse
from spikegrad.kernels.cpu.schema import define
from spikegrad.kernels.cpu.step_library import PROGRAMS, lanes
from spikegrad.kernels.emit import Program

__all__ = ["of_parameters", "padded", "register", "run"]


def register() -> None:
    """Schemas, shapes and gradients of the operators."""
    define("step_scan", fake, "y membrane reals masks marks ends")
    define("step_scan_backward", fake_backward, "dx dstarts sums")
    torch.library.register_fake("spikegrad::step_scan", fake)
    torch.library.register_fake("spikegrad::step_scan_backward", fake_backward)
    torch.library.register_autograd("spikegrad::step_scan", gradient, setup_context=keep_parts)
    torch.library.register_autograd("spikegrad::step_scan_backward", refuse)


def fake(
    program: int,
    x: Tensor,
    noise: Tensor | None,
    starts: Tensor,
    params: Tensor,
    keep: bool,
    segment: int,
) -> tuple[Tensor, ...]:
    """The outputs' shapes and dtypes: output, membrane, kept values, masks, marks, states at the
    end.
    """
    p = PROGRAMS[program]
    steps, batch, features = x.shape[-3:]
    columns = features if p.each else batch * features
    blocks = -(-columns // p.block) * (batch if p.each else 1)
    every = keep and not segment

    def made(there: bool, *shape: int, dtype: torch.dtype = x.dtype) -> Tensor:
        return x.new_empty(shape if there else (0,), dtype=dtype)

    segments, groups = -(-steps // segment) if segment else 0, p.block // lanes(p.double)
    return (
        x.new_empty((steps, batch, features)),
        made(p.outputs > 1, steps, batch, features),
        made(every and p.reals > 0, blocks, steps, p.reals, p.block),
        made(every and p.masks > 0, blocks, steps, p.masks, groups, dtype=torch.int16),
        made(bool(keep and segment), segments, len(p.states), batch, features),
        x.new_empty((len(p.states), batch, features)),
    )


def keep_parts(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads; of an input that it does not read, the number of steps."""
    program, x, noise, starts, params, _, segment = inputs
    _, membrane, reals, masks, marks, ends = output
    p = PROGRAMS[program]
    ctx.set_materialize_grads(False)
    nothing = () if p.outputs > 1 else (membrane,)
    ctx.mark_non_differentiable(reals, masks, marks, *nothing)
    ctx.save_for_backward(
        x if p.reads_input or segment else None,
        noise if p.reads_noise or segment else None,
        starts,
        params,
        reals,
        masks,
        marks,
        ends,
    )
    ctx.program, ctx.segment, ctx.leading = program, segment, x.shape[:-2]


def gradient(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Gradients of the input, the states before the first step and the parameters."""
    x, noise, starts, params, reals, masks, marks, after = ctx.saved_tensors
    p = PROGRAMS[ctx.program]
    if x is None:  # nobody reads it: something of its shape
        x = starts[0].expand(*ctx.leading, -1, -1)
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        # Whoever asks for the gradient's gradient must reach `refuse`, whatever was saved: the
        # states at the end are part of the graph.
        starts = starts + (after - after.detach())
    incoming, membrane, ends = grads[0], grads[1], grads[5]
    dx, dstarts, sums = below_autograd(
        torch.ops.spikegrad.step_scan_backward,
        ctx.program,
        None if incoming is None else readable(incoming),
        None if membrane is None else readable(membrane),
        None if ends is None else ends[: len(p.smooth)].contiguous(),
        x,
        noise,
        starts,
        params,
        reals,
        masks,
        marks,
        ctx.segment,
    )
    need = ctx.needs_input_grad
    return (
        None,
        dx if need[1] else None,
        None,
        padded(dstarts, p) if need[3] else None,
        of_parameters(sums.sum(0), params, p) if need[4] else None,
        None,
        None,
    )


def fake_backward(
    program: int,
    grad: Tensor | None,
    grad_membrane: Tensor | None,
    grad_ends: Tensor | None,
    x: Tensor,
    noise: Tensor | None,
    starts: Tensor,
    params: Tensor,
    reals: Tensor,
    masks: Tensor,
    marks: Tensor,
    segment: int,
) -> tuple[Tensor, ...]:
    """The gradients' shapes and dtypes: of the input, the states, the parameters' sums."""
    p = PROGRAMS[program]
    batch, features = x.shape[-2:]
    parts = batch if p.each else -(-batch * features // p.block)
    sums = (parts, len(p.learned), features if p.each else 1) if p.learned else (0,)
    return (
        x.new_empty(x.shape),
        x.new_empty((len(p.smooth), batch, features)),
        x.new_empty(sums, dtype=torch.float64),
    )


def readable(grad: Tensor) -> Tensor:
    """A gradient that is one number everywhere, or dense in `[B, N]`, as the kernel reads it."""
    if torch.compiler.is_compiling():
        return grad.contiguous()
    dense = grad.stride(2) == 1 and grad.stride(1) == grad.shape[2]
    return grad if dense or not any(grad.stride()) else grad.contiguous()


def padded(gradients: Tensor, program: Program) -> Tensor:
    """Zeros for the refractory counter."""
    if gradients.shape[0] == len(program.states):
        return gradients
    return torch.cat([gradients, gradients.new_zeros((1, *gradients.shape[1:]))])


def of_parameters(sums: Tensor, params: Tensor, program: Program) -> Tensor:
    """`[parameters, 1 or N]` from those of the learned ones, zeros for the others."""
    if not program.learned:
        return torch.zeros_like(params)
    zero = torch.zeros_like(params[0])
    found = dict(zip(program.learned, sums.to(params.dtype).unbind(0), strict=True))
    return torch.stack([found.get(name, zero) for name in program.parameters])


run = eager(lambda *inputs: torch.ops.spikegrad.step_scan(*inputs), keep_parts, gradient)
