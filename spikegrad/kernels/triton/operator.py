"""A generated scan as one differentiable call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.eager import eager
from spikegrad.kernels.emit import Program
from spikegrad.kernels.triton.launch import Call, launch_backward, launch_forward

__all__ = ["run"]


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads; of an input that it does not read, the number of steps."""
    x, bias, scale, shift, starts, parameters, call = inputs
    _, reals, words, marks, _ = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(reals, words, marks)
    read = call.program.reads_input or call.segment or scale is not None
    before = (bias, scale, shift, starts, parameters)
    ctx.save_for_backward(x if read else None, *before, reals, words, marks)
    ctx.call, ctx.steps, ctx.dtype = call, x.shape[0], x.dtype


def gradient(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Gradients of the input, the bias, scale and shift, the states before the first step and the
    parameters.
    """
    x, *others = ctx.saved_tensors
    bias, scale, _, starts, parameters = others[:5]
    call: Call = ctx.call
    if x is None:  # nobody reads it: something of its shape and dtype
        x = starts.new_empty((), dtype=ctx.dtype).expand(ctx.steps, *starts.shape[1:])
    incoming, ends = grads[0], grads[4]
    if incoming is not None:
        incoming = readable(incoming)
    if ends is not None:
        ends = ends[: len(call.program.smooth)].contiguous()
    dx, dstarts, sums = backward(incoming, ends, x, *others, call)
    need = ctx.needs_input_grad
    return (
        dx if need[0] else None,
        *of_channels(sums[len(call.program.learned) :], bias, scale),
        padded(dstarts, len(call.program.states)) if need[4] else None,
        of_parameters(sums, parameters, call.program) if need[5] else None,
        None,
    )


def of_channels(
    sums: Tensor, bias: Tensor | None, scale: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of bias, scale and shift, `[C]`, from sums `[0 to 2, B, N]`; added in float64."""
    one = bias if scale is None else scale
    if one is None:
        return None, None, None
    found = sums.sum(1, dtype=torch.float64).reshape(sums.shape[0], one.shape[0], -1).sum(2)
    if scale is None:
        return found[0].to(one.dtype), None, None
    of_bias = None if bias is None else (found[0] * scale).to(one.dtype)
    return of_bias, found[1].to(one.dtype), found[0].to(one.dtype)


def readable(grad: Tensor) -> Tensor:
    """A gradient that is one number everywhere, or dense in `[B, N]`, as the kernel reads it."""
    dense = grad.stride(2) == 1 and grad.stride(1) == grad.shape[2]
    return grad if dense or not any(grad.stride()) else grad.contiguous()


def padded(gradients: Tensor, states: int) -> Tensor:
    """Zeros for the refractory counter."""
    if gradients.shape[0] == states:
        return gradients
    return torch.cat([gradients, gradients.new_zeros((1, *gradients.shape[1:]))])


def of_parameters(sums: Tensor, parameters: Tensor, program: Program) -> Tensor:
    """`[rows, 1 or N]`, zeros for parameters that are not learned; added up in float64."""
    total = torch.zeros_like(parameters)
    if program.learned:
        rows = [program.parameters.index(name) for name in program.learned]
        over = (1,) if program.each else (1, 2)
        found = sums[: len(rows)].sum(over, dtype=torch.float64).to(parameters.dtype)
        total[rows] = found.reshape(len(rows), -1)
    return total


def keep_nothing(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """A gradient's gradient is refused."""


def refuse(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """A kernel's gradient has no gradient: a silent zero would be wrong."""
    raise RuntimeError(
        "expected one backward pass through a Triton kernel, got a second (create_graph=True); "
        "use backend='reference' on the layers, whose gradients can be differentiated again"
    )


backward = eager(launch_backward, keep_nothing, refuse)
run = eager(launch_forward, keep_for_backward, gradient)
