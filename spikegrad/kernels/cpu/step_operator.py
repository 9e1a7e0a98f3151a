"""A generated scan as one differentiable call."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.kernels.cpu.derivative import refuse
from spikegrad.kernels.cpu.eager import below_autograd, eager
from spikegrad.kernels.cpu.step_library import Functions
from spikegrad.kernels.emit import Program

__all__ = ["Call", "register", "run"]


class Call(NamedTuple):
    """One call besides its tensors.

    keep: a backward pass may follow; segment: steps after which states are kept, and everything
    else computed again; 0: what the backward pass reads is kept at every step.
    """

    program: Program
    functions: Functions
    keep: bool
    segment: int

    def words(self) -> list[int]:
        """What the operators take, in the order of `Call` in src/step_scan.cpp."""
        p = self.program
        return [
            len(p.states),
            len(p.smooth),
            p.reals,
            p.masks,
            len(p.learned),
            self.segment,
            int(p.each),
            int(self.keep),
        ]


def register() -> None:
    """A gradient's gradient is refused."""
    torch.library.register_autograd("spikegrad::step_scan_backward", refuse)


def forward(x: Tensor, starts: Tensor, params: Tensor, call: Call) -> tuple[Tensor, ...]:
    """Output, kept values, masks and marks, and the states at the end `[states, B, N]`.

    x: `[T, B, N]`; starts: `[states, B, N]`; params: `[rows, 1 or N]`.
    """
    out: tuple[Tensor, ...] = torch.ops.spikegrad.step_scan(
        call.functions.forward, x, starts, params, call.words()
    )
    return out


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads; of an input that it does not read, the number of steps."""
    x, starts, params, call = inputs
    _, reals, masks, marks, _ = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(reals, masks, marks)
    read = call.program.reads_input or call.segment
    ctx.save_for_backward(x if read else None, starts, params, reals, masks, marks)
    ctx.call, ctx.steps = call, x.shape[0]


def gradient(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Gradients of the input, the states before the first step and the parameters."""
    x, starts, params, reals, masks, marks = ctx.saved_tensors
    call: Call = ctx.call
    program = call.program
    if x is None:  # nobody reads it: something of its shape
        x = starts[:1].expand(ctx.steps, -1, -1)
    incoming, ends = grads[0], grads[4]
    if ends is not None:
        ends = ends[: len(program.smooth)].contiguous()
    dx, dstarts, sums = below_autograd(
        torch.ops.spikegrad.step_scan_backward,
        call.functions.backward,
        None if incoming is None else readable(incoming),
        ends,
        x,
        starts,
        params,
        reals,
        masks,
        marks,
        call.words(),
    )
    need = ctx.needs_input_grad
    return (
        dx if need[0] else None,
        padded(dstarts, len(program.states)) if need[1] else None,
        of_parameters(sums, params, program) if need[2] else None,
        None,
    )


def readable(grad: Tensor) -> Tensor:
    """A gradient that is one number everywhere, or dense in `[B, N]`, as the kernel reads it."""
    dense = grad.stride(2) == 1 and grad.stride(1) == grad.shape[2]
    return grad if dense or not any(grad.stride()) else grad.contiguous()


def padded(gradients: Tensor, states: int) -> Tensor:
    """Zeros for the refractory counter."""
    if gradients.shape[0] == states:
        return gradients
    return torch.cat([gradients, gradients.new_zeros((1, *gradients.shape[1:]))])


def of_parameters(sums: Tensor, params: Tensor, program: Program) -> Tensor:
    """`[rows, 1 or N]`, zeros for parameters that are not learned."""
    total = torch.zeros_like(params)
    rows = [program.parameters.index(name) for name in program.learned]
    if rows:
        total[rows] = sums.sum(0).to(params.dtype)
    return total


run = eager(forward, keep_for_backward, gradient)
