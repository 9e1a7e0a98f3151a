"""A generated scan with feedback as one differentiable call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.eager import eager
from spikegrad.kernels.triton.feedback_launch import launch_backward, launch_forward
from spikegrad.kernels.triton.launch import Call
from spikegrad.kernels.triton.operator import (
    keep_nothing,
    of_parameters,
    padded,
    readable,
    refuse,
)

__all__ = ["run"]


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads; of an input that it does not read, its shape."""
    x, bias, _, weight, starts, parameters, call = inputs
    _, _, spikes, reals, words, marks, _ = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(spikes, reals, words, marks)
    read = x if call.segment else None
    ctx.save_for_backward(read, bias, weight, starts, parameters, spikes, reals, words, marks)
    ctx.call = call


def gradient(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Gradients of the input, the bias, the spikes before, the weight, the states before the first
    step and the parameters.
    """
    x, *others = ctx.saved_tensors
    bias, parameters, spikes = others[0], others[3], others[4]
    call: Call = ctx.call
    before = spikes[:-1]
    x = before if x is None else x  # nobody reads it: something of its shape and dtype
    incoming, last, ends = grads[0], grads[1], grads[6]
    dx, dsent, dstarts, sums = backward(
        None if incoming is None else readable(incoming),
        None if last is None else last.contiguous(),
        None if ends is None else ends[: len(call.program.smooth)].contiguous(),
        x,
        *others,
        call,
    )
    need = ctx.needs_input_grad
    return (
        dx if need[0] else None,
        sums[-1].sum(0, dtype=torch.float64).to(bias.dtype) if need[1] else None,
        dsent.to(dx.dtype) if need[2] else None,
        dx.flatten(0, 1).T @ before.flatten(0, 1) if need[3] else None,
        padded(dstarts, len(call.program.states)) if need[4] else None,
        of_parameters(sums, parameters, call.program) if need[5] else None,
        None,
    )


backward = eager(launch_backward, keep_nothing, refuse)
run = eager(launch_forward, keep_for_backward, gradient)
