"""What torch must know of a connection with delays: shapes, gradients."""

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
    define("delayed_linear", fake_delayed_linear, "y pending packed choice")
    define("delayed_linear_backward", fake_delayed_linear_backward, "dx dtaps")
    torch.library.register_fake("spikegrad::delayed_linear", fake_delayed_linear)
    torch.library.register_fake("spikegrad::delayed_linear_backward", fake_delayed_linear_backward)
    torch.library.register_autograd(
        "spikegrad::delayed_linear", gradient, setup_context=keep_for_backward
    )
    torch.library.register_autograd("spikegrad::delayed_linear_backward", refuse)


def fake_delayed_linear(
    x: Tensor,
    in_bits: Tensor | None,
    in_support: Tensor | None,
    pending: Tensor | None,
    taps: Tensor,
    first: Tensor,
    starts: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    outputs: int,
    most: int,
) -> tuple[Tensor, ...]:
    """The outputs' shapes and dtypes.

    x: `[T, B, I]`, or with in_bits `[T, B, words]` the edge of spikes, in_support: its places if
    it has one dimension; pending: `[B, most, N]`; taps: `[E, K]`; first: `[E]`; packed: words that
    say which values of x are not 0, empty of bits.
    """
    steps, batch = (x if in_bits is None else in_bits).shape[:2]
    words = (steps, batch, tiles(starts.shape[0] - 1)) if in_bits is None else (0,)
    return (
        x.new_empty((steps, batch, outputs)),
        x.new_empty((batch, most, outputs)),
        x.new_empty(words, dtype=torch.int64),
        x.new_empty((CHOICE,), dtype=torch.int64),
    )


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads: of spikes their bits alone."""
    x, in_bits, in_support, _, taps, first, starts, targets, _, outputs, most = inputs
    *_, packed, choice = output
    ctx.set_materialize_grads(False)
    spikes = not torch.compiler.is_compiling() and type(choice) is Tensor and choice[1] >= 0
    kept = x.new_empty(0) if spikes else x
    packed = packed if in_bits is None else in_bits
    support = in_support if x.dim() == 1 else None
    ctx.save_for_backward(kept, packed, support, taps, first, starts, targets, choice)
    ctx.outputs, ctx.most = outputs, most


def gradient(
    ctx: Any, grad_y: Tensor | None, grad_pending: Tensor | None, *_: Any
) -> tuple[Tensor | None, ...]:
    """Gradients of input, currents on their way, taps and bias."""
    if grad_y is None and grad_pending is None:
        return (None,) * 11
    x, packed, support, taps, first, starts, targets, choice = ctx.saved_tensors
    need = ctx.needs_input_grad
    dx, dtaps = below_autograd(
        torch.ops.spikegrad.delayed_linear_backward,
        None if grad_y is None else grad_y.contiguous(),
        None if grad_pending is None else grad_pending.contiguous(),
        x,
        packed,
        support,
        taps,
        first,
        starts,
        targets,
        ctx.outputs,
        ctx.most,
        choice,
        need[0],
        need[4],
    )
    dpending = None
    if need[3]:
        dpending = arrived(grad_y, grad_pending, packed, ctx.most)
    dbias = grad_y.sum((0, 1)) if need[8] and grad_y is not None else None
    return (
        dx if need[0] else None,
        None,
        None,
        dpending,
        dtaps if need[4] else None,
        None,
        None,
        None,
        dbias,
        None,
        None,
    )


def arrived(
    grad_y: Tensor | None, grad_pending: Tensor | None, packed: Tensor, most: int
) -> Tensor:
    """The gradient of what was on its way: of the first `most` steps."""
    like = grad_y if grad_y is not None else grad_pending
    assert like is not None
    steps, batch = packed.shape[:2]
    outputs = like.shape[2]
    now = like.new_zeros((batch, steps, outputs)) if grad_y is None else grad_y.transpose(0, 1)
    if steps >= most:
        return now[:, :most].contiguous()
    later = like.new_zeros((batch, most, outputs)) if grad_pending is None else grad_pending
    return torch.cat([now, later], 1)[:, :most].contiguous()


def fake_delayed_linear_backward(
    grad_y: Tensor | None,
    grad_pending: Tensor | None,
    x: Tensor,
    packed: Tensor,
    support: Tensor | None,
    taps: Tensor,
    first: Tensor,
    starts: Tensor,
    targets: Tensor,
    outputs: int,
    most: int,
    choice: Tensor,
    need_x: bool,
    need_taps: bool,
) -> tuple[Tensor, ...]:
    """The gradients' shapes and dtypes."""
    assert support is None  # a trace has numbers
    size = (*packed.shape[:2], starts.shape[0] - 1)
    dx = taps.new_empty(size if need_x else (0,))
    return dx, taps.new_empty(taps.shape if need_taps else (0,))


run = eager(
    lambda *inputs: torch.ops.spikegrad.delayed_linear(*inputs), keep_for_backward, gradient
)
