"""A generated scan with feedback as one differentiable operator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.eager import below_autograd, eager
from spikegrad.kernels.cpu.schema import define
from spikegrad.kernels.triton.calls import (
    FeedbackBackward,
    FeedbackCall,
    FeedbackOutputs,
    by_name,
    in_order,
)
from spikegrad.kernels.triton.feedback_launch import (
    gradients_of,
    launch_backward,
    launch_forward,
    outputs_of,
)
from spikegrad.kernels.triton.operator import of_parameters, padded, reached, readable, refuse
from spikegrad.kernels.triton.product_operator import gradient_of_weight
from spikegrad.kernels.triton.programs import program_of

__all__ = ["run"]


def forward(*args: Any) -> tuple[Tensor, ...]:
    """The operator."""
    return tuple(launch_forward(FeedbackCall(*args)))


def fake(*args: Any) -> tuple[Tensor, ...]:
    """Its outputs' shapes and dtypes."""
    return tuple(outputs_of(FeedbackCall(*args)))


def backward(*args: Any) -> tuple[Tensor, ...]:
    """The gradient's operator."""
    return launch_backward(FeedbackBackward(*args))


def fake_backward(*args: Any) -> tuple[Tensor, ...]:
    """Its outputs' shapes and dtypes."""
    return gradients_of(FeedbackBackward(*args))


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads; of an input that it does not read, its shape."""
    call, out = FeedbackCall(*inputs), FeedbackOutputs(*output)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(out.bits, out.reals, out.masks, out.marks)
    ctx.save_for_backward(
        call.x if call.segment else None,
        call.bias,
        call.first,
        call.weight,
        call.starts,
        call.parameters,
        out.bits,
        out.reals,
        out.masks,
        out.marks,
        out.ends,
    )
    ctx.call, ctx.shape = (call.program, call.segment), call.x.shape


def gradient(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Gradients of the input, the bias, the spikes before, the weight, the states before the first
    step and the parameters.
    """
    x, bias, first, weight, starts, parameters, bits, reals, masks, marks, after = ctx.saved_tensors
    (key, segment), incoming = ctx.call, by_name(FeedbackOutputs, grads)
    program = program_of(key)
    if x is None:  # nobody reads it: something of its shape and dtype
        x = first.new_empty(()).expand(ctx.shape)
    y, last, ends = (incoming[name] for name in ("y", "last", "ends"))
    call = FeedbackBackward(
        key,
        None if y is None else readable(y),
        None if last is None else last.contiguous(),
        None if ends is None else ends[: len(program.smooth)].contiguous(),
        x,
        bias,
        first,
        weight,
        reached(starts, after),
        parameters,
        bits,
        reals,
        masks,
        marks,
        segment,
    )
    dx, dsent, dstarts, sums = below_autograd(torch.ops.spikegrad.triton_feedback_backward, *call)
    need = by_name(FeedbackCall, ctx.needs_input_grad)
    return in_order(
        FeedbackCall,
        x=dx if need["x"] else None,
        bias=sums[-1].sum(0, dtype=torch.float64).to(bias.dtype) if need["bias"] else None,
        first=dsent.to(dx.dtype) if need["first"] else None,
        weight=of_feedback(dx, first, bits) if need["weight"] else None,
        starts=padded(dstarts, len(program.states)) if need["starts"] else None,
        parameters=of_parameters(sums, parameters, program) if need["parameters"] else None,
    )


def of_feedback(dx: Tensor, first: Tensor, bits: Tensor) -> Tensor:
    """The weight's gradient: of every step with the spikes of the one before it."""
    total = dx[0].T @ first
    return total if len(dx) == 1 else total + gradient_of_weight(dx[1:], first, bits)


def register() -> None:
    """Schemas, shapes and gradients of the operators."""
    define("triton_feedback", FeedbackCall, " ".join(FeedbackOutputs._fields), run=forward)
    define("triton_feedback_backward", FeedbackBackward, "dx dsent dstarts sums", run=backward)
    torch.library.register_fake("spikegrad::triton_feedback", fake)
    torch.library.register_fake("spikegrad::triton_feedback_backward", fake_backward)
    torch.library.register_autograd(
        "spikegrad::triton_feedback", gradient, setup_context=keep_for_backward
    )
    torch.library.register_autograd("spikegrad::triton_feedback_backward", refuse)


register()
run = eager(
    lambda *inputs: torch.ops.spikegrad.triton_feedback(*inputs), keep_for_backward, gradient
)
