"""What torch must know of a connection with learned delays: shapes, gradients."""

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
    define("learned_delays", fake_learned_delays, "y pending packed choice")
    define("learned_delays_backward", fake_learned_delays_backward, "dx dweight ddelay dpending")
    torch.library.register_fake("spikegrad::learned_delays", fake_learned_delays)
    torch.library.register_fake("spikegrad::learned_delays_backward", fake_learned_delays_backward)
    torch.library.register_autograd(
        "spikegrad::learned_delays", gradient, setup_context=keep_for_backward
    )
    torch.library.register_autograd("spikegrad::learned_delays_backward", refuse)


def fake_learned_delays(
    x: Tensor,
    in_bits: Tensor | None,
    in_support: Tensor | None,
    pending: Tensor | None,
    weight: Tensor,
    delay: Tensor,
    starts: Tensor | None,
    targets: Tensor | None,
    bias: Tensor | None,
    inputs: int,
    outputs: int,
    most: int,
    sigma: float,
) -> tuple[Tensor, ...]:
    """The outputs' shapes and dtypes.

    x, in_bits, in_support, pending, packed: as of `delayed_linear`; weight, delay (steps):
    `[N, I]`, or with starts `[I + 1]` and targets `[E]` one number a synapse; sigma: of Gaussians
    (steps), 0 for interpolation.
    """
    steps, batch = (x if in_bits is None else in_bits).shape[:2]
    words = (steps, batch, tiles(inputs)) if in_bits is None else (0,)
    return (
        x.new_empty((steps, batch, outputs)),
        x.new_empty((batch, most, outputs)),
        x.new_empty(words, dtype=torch.int64),
        x.new_empty((CHOICE,), dtype=torch.int64),
    )


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads: of spikes their bits alone."""
    x, in_bits, in_support, _, weight, delay, starts, targets, _, *ctx.sizes = inputs
    *_, packed, choice = output
    ctx.set_materialize_grads(False)
    spikes = not torch.compiler.is_compiling() and type(choice) is Tensor and choice[1] >= 0
    kept = x.new_empty(0) if spikes else x
    packed = packed if in_bits is None else in_bits
    support = in_support if x.dim() == 1 else None
    ctx.save_for_backward(kept, packed, support, weight, delay, starts, targets, choice)


def gradient(
    ctx: Any, grad_y: Tensor | None, grad_pending: Tensor | None, *_: Any
) -> tuple[Tensor | None, ...]:
    """Gradients of input, currents on their way, weights, delays and bias."""
    need = ctx.needs_input_grad
    found: list[Tensor | None] = [None] * len(need)
    if grad_y is None and grad_pending is None:
        return tuple(found)
    *tensors, choice = ctx.saved_tensors
    dx, dweight, ddelay, dpending = below_autograd(
        torch.ops.spikegrad.learned_delays_backward,
        None if grad_y is None else grad_y.contiguous(),
        None if grad_pending is None else grad_pending.contiguous(),
        *tensors,
        *ctx.sizes,
        choice,
        need[0],
        need[4] or need[5],
        need[3],
    )
    for at, made in ((0, dx), (3, dpending), (4, dweight), (5, ddelay)):
        found[at] = made if need[at] else None
    if need[8] and grad_y is not None:
        found[8] = grad_y.sum((0, 1))
    return tuple(found)


def fake_learned_delays_backward(
    grad_y: Tensor | None,
    grad_pending: Tensor | None,
    x: Tensor,
    packed: Tensor,
    support: Tensor | None,
    weight: Tensor,
    delay: Tensor,
    starts: Tensor | None,
    targets: Tensor | None,
    inputs: int,
    outputs: int,
    most: int,
    sigma: float,
    choice: Tensor,
    need_x: bool,
    need_weight: bool,
    need_pending: bool,
) -> tuple[Tensor, ...]:
    """The gradients' shapes and dtypes."""
    assert support is None  # a trace has numbers
    steps, batch = packed.shape[:2]

    def made(there: bool, *shape: int) -> Tensor:
        return weight.new_empty(shape if there else (0,))

    return (
        made(need_x, steps, batch, inputs),
        made(need_weight, *weight.shape),
        made(need_weight, *weight.shape),
        made(need_pending, batch, most, outputs),
    )


run = eager(
    lambda *inputs: torch.ops.spikegrad.learned_delays(*inputs), keep_for_backward, gradient
)
