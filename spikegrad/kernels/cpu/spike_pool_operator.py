"""A spiking neuron and the max-pool behind it in one native call, channels-last.

Neither the spikes nor what a neuron keeps of `[T, B, C, H, W]` neurons is stored: the backward pass
runs the neurons again from the input, and sees which neuron of a window spiked first. An input that
is one step seen T times is read once, its gradient summed over time on the way.
Spikes equal those of the scan and of torch's pool bit for bit, ties included: the first of equals.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.functional.conv import Pair
from spikegrad.kernels.cpu.eager import below_autograd, eager, refuse
from spikegrad.kernels.cpu.layer_operator import of_states
from spikegrad.kernels.cpu.neuron import alike, named, usual
from spikegrad.kernels.cpu.schema import define
from spikegrad.kernels.cpu.step_library import PROGRAMS
from spikegrad.kernels.cpu.step_operator import of_parameters, padded
from spikegrad.step import Step
from spikegrad.types import State, map_state

__all__ = ["obstacle", "register", "spike_pool"]


def obstacle(x: Tensor, kernel: Pair, args: dict[str, Any]) -> str:
    """Why `spike_pool` cannot run a call of a neuron with a pool behind it, or ""."""
    if x.dim() != 5 or x.dtype not in (torch.float32, torch.float64):
        return "x is not [T, B, C, H, W] of float32 or float64"
    if any(k > n for k, n in zip(kernel, x.shape[3:], strict=True)):
        return "windows larger than the image"
    if not alike(args):
        return "parameters per neuron"
    return ""


def spike_pool(
    x: Tensor,
    state: State = None,
    *,
    steps: int,
    kernel: Pair,
    neuron: str | Step,
    args: dict[str, Any],
) -> tuple[Tensor, State]:
    """Neurons, then a max-pool of non-overlapping windows.

    x: `[T, B, C, H, W]`, or `[1, B, C, H, W]` for the same input at every one of `steps`; neuron: a
    step, or a scan of `functional` by its name; args: its keyword arguments.
    Returns spikes `[T, B, C, H // kernel[0], W // kernel[1]]` and the neurons' state.
    """
    last = x.permute(0, 1, 3, 4, 2)
    start = map_state(lambda part: part.permute(0, 2, 3, 1), state)
    n = usual("rows", neuron, x.dtype, args) if start is None else None
    n = n or named("rows", neuron, last, start, args)
    y, ends = run(n.loaded.key, last.contiguous(), n.states.contiguous(), n.params, steps, *kernel)
    after = map_state(lambda part: part.permute(0, 3, 1, 2), n.wrap(ends))
    return y.permute(0, 1, 4, 2, 3), after


def register() -> None:
    """Schemas, shapes and gradients of the operators."""
    define("spike_pool", fake, "y ends")
    define("spike_pool_backward", fake_backward, "dx dstarts sums")
    torch.library.register_fake("spikegrad::spike_pool", fake)
    torch.library.register_fake("spikegrad::spike_pool_backward", fake_backward)
    torch.library.register_autograd("spikegrad::spike_pool", gradients, setup_context=keep)
    torch.library.register_autograd("spikegrad::spike_pool_backward", refuse)


def fake(
    program: int, x: Tensor, states: Tensor, params: Tensor, steps: int, kh: int, kw: int
) -> tuple[Tensor, ...]:
    """The outputs' shapes and dtypes."""
    _, batch, height, width, channels = x.shape
    shape = (steps, batch, height // kh, width // kw, channels)
    ends = (len(PROGRAMS[program].states), *x.shape[1:])
    return x.new_empty(shape), x.new_empty(ends)


def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save the input, from which the neurons run again."""
    program, x, states, params, *sizes = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, states, params)
    ctx.program, ctx.sizes = program, sizes


def gradients(ctx: Any, grad_y: Tensor | None, grad_ends: Tensor | None) -> tuple[Any, ...]:
    """Gradients of x, the states before the first step and the parameters."""
    x, states, params = ctx.saved_tensors
    p, need = PROGRAMS[ctx.program], ctx.needs_input_grad
    dx, dstarts, sums = below_autograd(
        torch.ops.spikegrad.spike_pool_backward,
        ctx.program,
        None if grad_y is None else grad_y.contiguous(),
        None if grad_ends is None else grad_ends[: len(p.smooth)].contiguous(),
        x,
        states,
        params,
        *ctx.sizes,
        need[2],
    )
    started = of_states(padded(dstarts.flatten(2), p), states) if need[2] else None
    learned = of_parameters(sums.sum(0).unsqueeze(1), params, p) if need[3] else None
    return None, dx, started, learned, None, None, None


def fake_backward(
    program: int,
    grad_y: Tensor | None,
    grad_ends: Tensor | None,
    x: Tensor,
    states: Tensor,
    params: Tensor,
    steps: int,
    kh: int,
    kw: int,
    need_states: bool,
) -> tuple[Tensor, ...]:
    """The gradients' shapes and dtypes."""
    p = PROGRAMS[program]
    starts = (len(p.smooth), *x.shape[1:]) if need_states else (0,)
    pieces = torch.library.get_ctx().new_dynamic_size() if p.learned else 0
    sums = (pieces, len(p.learned)) if p.learned else (0,)
    return x.new_empty(x.shape), x.new_empty(starts), x.new_empty(sums, dtype=torch.float64)


run = eager(lambda *inputs: torch.ops.spikegrad.spike_pool(*inputs), keep, gradients)
