"""What torch must know of a connection alone: shapes, gradients, no second derivative."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.eager import below_autograd, eager, refuse
from spikegrad.kernels.cpu.schema import define
from spikegrad.kernels.cpu.spikes import CHOICE, sizes_of, tiles

__all__ = ["register", "run"]


def register() -> None:
    """Schemas, shapes and gradients of the operators."""
    define("linear", fake_linear, "y packed choice")
    define("linear_backward", fake_linear_backward, "dx dweight dbias")
    torch.library.register_fake("spikegrad::linear", fake_linear)
    torch.library.register_fake("spikegrad::linear_backward", fake_linear_backward)
    torch.library.register_autograd("spikegrad::linear", gradient, setup_context=keep_for_backward)
    torch.library.register_autograd("spikegrad::linear_backward", refuse)


def fake_linear(
    x: Tensor,
    in_bits: Tensor | None,
    in_support: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    shares: list[float],
    steady: Tensor | None,
) -> tuple[Tensor, ...]:
    """The outputs' shapes and dtypes; steady: an edge, for one gradient of all steps."""
    steps, batch, inputs = sizes_of(x, in_bits, weight)
    return (
        x.new_empty((steps, batch, weight.shape[0])),
        x.new_empty((steps, batch, tiles(inputs)) if in_bits is None else (0,), dtype=torch.int64),
        x.new_empty((CHOICE,), dtype=torch.int64),
    )


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads, and no more."""
    x, in_bits, in_support, weight, _, shares, _ = inputs
    _, packed, choice = output
    if in_bits is None and packed.numel():
        in_bits = packed
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, in_bits, in_support, weight, choice)
    ctx.shares = shares


def gradient(ctx: Any, incoming: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    """Gradients of input, weight and bias."""
    if incoming is None:
        return (None,) * 7
    x, in_bits, in_support, weight, choice = ctx.saved_tensors
    need = ctx.needs_input_grad
    need_x, once = need[0] or need[6], is_once(incoming)
    dx, dweight, dbias = below_autograd(
        torch.ops.spikegrad.linear_backward,
        incoming,
        x,
        in_bits,
        in_support,
        weight,
        choice,
        need_x,
        need[3] or need[4],
        once,
        ctx.shares,
    )
    # Of an input at places the gradient of every step takes the other edge.
    steady = need_x and dx.dim() == 2
    return (
        dx if need[0] and not steady else None,
        None,
        None,
        dweight if need[3] else None,
        dbias if need[4] else None,
        None,
        dx if steady else None,
    )


def is_once(gradient: Tensor) -> bool:
    """Whether the gradient is the same at every step: what a mean over time leaves.

    By values only of real tensors: a trace must not depend on them.
    """
    if gradient.shape[0] < 2 or gradient.stride(0) == 0:
        return gradient.shape[0] > 1
    plain = type(gradient) is Tensor and gradient.is_contiguous()
    if not plain or torch.compiler.is_compiling():
        return False
    return bool(torch.ops.spikegrad.same_every_step(gradient))


def fake_linear_backward(
    grad_y: Tensor,
    x: Tensor,
    in_bits: Tensor | None,
    in_support: Tensor | None,
    weight: Tensor,
    choice: Tensor,
    need_x: bool,
    need_weight: bool,
    once: bool,
    shares: list[float],
) -> tuple[Tensor, ...]:
    """The gradients' shapes and dtypes."""
    steps, batch, inputs = sizes_of(x, in_bits, weight)
    outputs = weight.shape[0]

    def made(there: bool, *shape: int) -> Tensor:
        return weight.new_empty(shape if there else (0,))

    dx = made(need_x, *x.shape)
    if need_x and once:
        dx = made(True, batch, inputs)
        dx = dx.expand(steps, batch, inputs) if x.dim() == 3 else dx
    return dx, made(need_weight, outputs, inputs), made(need_weight, outputs)


run = eager(lambda *inputs: torch.ops.spikegrad.linear(*inputs), keep_for_backward, gradient)
