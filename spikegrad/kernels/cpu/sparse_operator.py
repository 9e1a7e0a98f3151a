"""What torch must know of a connection with some synapses alone: shapes, gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.eager import below_autograd, eager, refuse
from spikegrad.kernels.cpu.schema import define
from spikegrad.kernels.cpu.spikes import CHOICE, tiles

__all__ = ["register", "run"]


def register() -> None:
    """Schemas, shapes and gradients of the operators."""
    define("sparse_linear", fake_sparse_linear, "y packed choice")
    define("sparse_linear_backward", fake_sparse_linear_backward, "dx dweight")
    define("are_edges(Tensor starts, Tensor targets, int outputs) -> bool")
    torch.library.register_fake("spikegrad::sparse_linear", fake_sparse_linear)
    torch.library.register_fake("spikegrad::sparse_linear_backward", fake_sparse_linear_backward)
    torch.library.register_autograd(
        "spikegrad::sparse_linear", gradient, setup_context=keep_for_backward
    )
    torch.library.register_autograd("spikegrad::sparse_linear_backward", refuse)


def fake_sparse_linear(
    x: Tensor,
    in_bits: Tensor | None,
    in_support: Tensor | None,
    weight: Tensor,
    starts: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    outputs: int,
) -> tuple[Tensor, ...]:
    """The outputs' shapes and dtypes.

    x: `[T, B, I]`, or one element a place; weight: `[E]`; packed: words that say which values of
    an x without bits are not 0.
    """
    steps, batch = (x if in_bits is None else in_bits).shape[:2]
    words = (steps, batch, tiles(starts.shape[0] - 1)) if in_bits is None else (0,)
    return (
        weight.new_empty((steps, batch, outputs)),
        weight.new_empty(words, dtype=torch.int64),
        weight.new_empty((CHOICE,), dtype=torch.int64),
    )


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads: of spikes their bits alone."""
    x, in_bits, in_support, weight, starts, targets, _, outputs = inputs
    _, packed, choice = output
    ctx.set_materialize_grads(False)
    bits = packed if in_bits is None else in_bits
    ctx.save_for_backward(x, bits, in_support, weight, starts, targets, choice)
    ctx.outputs = outputs


def gradient(ctx: Any, incoming: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    """Gradients of input, weight and bias."""
    if incoming is None:
        return (None,) * 8
    x, bits, support, weight, starts, targets, choice = ctx.saved_tensors
    need = ctx.needs_input_grad
    dx, dweight = below_autograd(
        torch.ops.spikegrad.sparse_linear_backward,
        incoming.contiguous(),
        x,
        bits,
        support,
        weight,
        starts,
        targets,
        ctx.outputs,
        choice,
        need[0],
        need[3],
    )
    dbias = incoming.sum((0, 1)) if need[6] else None
    return (
        dx if need[0] else None,
        None,
        None,
        dweight if need[3] else None,
        None,
        None,
        dbias,
        None,
    )


def fake_sparse_linear_backward(
    grad_y: Tensor,
    x: Tensor,
    in_bits: Tensor | None,
    in_support: Tensor | None,
    weight: Tensor,
    starts: Tensor,
    targets: Tensor,
    outputs: int,
    choice: Tensor,
    need_x: bool,
    need_weight: bool,
) -> tuple[Tensor, ...]:
    """The gradients' shapes and dtypes."""
    dx = weight.new_empty(x.shape if need_x else (0,))
    return dx, weight.new_empty(weight.shape if need_weight else (0,))


run = eager(lambda *inputs: torch.ops.spikegrad.sparse_linear(*inputs), keep_for_backward, gradient)
