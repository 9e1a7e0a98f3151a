"""A spiking neuron and the max-pool behind it in one native call, channels-last.

Neither the spikes nor the membranes of `[T, B, C, H, W]` neurons are stored: the forward pass keeps
pooled spikes and which neuron of each window they came from, the backward pass runs the membranes
again from the input. An input that is one step seen T times is read once, its gradient summed over
time on the way.
Spikes equal those of the scan and of torch's pool bit for bit, ties included: the first of equals.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.functional.conv import Pair
from spikegrad.functional.decay import input_gain
from spikegrad.kernels.cpu.derivative import amplitude_of, refuse, shape_of
from spikegrad.kernels.cpu.library import FAMILIES, RESETS
from spikegrad.kernels.cpu.neuron import numbers, tensors
from spikegrad.step.loop import check_firing
from spikegrad.step.sequence import enter
from spikegrad.surrogate import Surrogate
from spikegrad.types import Gain, LIFState, Reset, Value

__all__ = ["lif_pool", "obstacle", "register"]

LARGEST = 256
"""Neurons of a window, as many as a byte can tell apart."""


def obstacle(x: Tensor, kernel: Pair, args: dict[str, Any]) -> str:
    """Why `lif_pool` cannot run a call of `lif` with a pool behind it, or ""."""
    if x.dim() != 5 or x.dtype not in (torch.float32, torch.float64):
        return "x is not [T, B, C, H, W] of float32 or float64"
    if kernel[0] * kernel[1] > LARGEST or any(
        k > n for k, n in zip(kernel, x.shape[3:], strict=True)
    ):
        return "windows larger than the image, or of more than 256 neurons"
    if args.get("refractory") or args.get("slope") is not None:
        return "a refractory period or a learned slope"
    if args["surrogate"].name not in FAMILIES:
        return "its surrogate is evaluated by torch"
    values = [value for value in args.values() if isinstance(value, Tensor)]
    if any(
        value.numel() != 1 or (value.requires_grad and torch.is_grad_enabled()) for value in values
    ):
        return "parameters per neuron, or learned"
    return ""


def lif_pool(
    x: Tensor,
    state: LIFState | None = None,
    *,
    steps: int,
    kernel: Pair,
    beta: Value = 1.0,
    gain: Gain = "unit",
    **spiking: Any,
) -> tuple[Tensor, LIFState]:
    """`functional.lif`, then a max-pool of non-overlapping windows; `beta=1` is integrate-and-fire.

    x: `[T, B, C, H, W]`, or `[1, B, C, H, W]` for the same input at every one of `steps`.
    Returns spikes `[T, B, C, H // kernel[0], W // kernel[1]]` and the neurons' state.
    """
    enter(x, state, LIFState, beta=beta, **numbers(spiking))
    y, v = run(
        x, state, steps, kernel, {"beta": beta, "gain_mem": input_gain(gain, beta)}, **spiking
    )
    return y.permute(0, 1, 4, 2, 3), LIFState(v.permute(0, 3, 1, 2), None)


def run(
    x: Tensor,
    state: LIFState | None,
    steps: int,
    kernel: Pair,
    values: dict[str, Value],
    *,
    surrogate: Surrogate,
    threshold: Value = 1.0,
    v_rest: Value = 0.0,
    v_reset: Value = 0.0,
    reset: Reset = "subtract",
    detach_reset: bool = True,
    slope: None = None,
    refractory: int = 0,
    drop: Value | None = None,
) -> tuple[Tensor, Tensor]:
    """Call the operator; pooled spikes `[T, B, H', W', C]`, membranes `[B, H, W, C]`."""
    check_firing(reset, detach_reset, refractory)
    values = {
        **values,
        "threshold": threshold,
        "v_rest": v_rest,
        "v_reset": v_reset,
        "drop": threshold - v_rest if drop is None else drop,
    }
    v0 = None if state is None else state.v.permute(0, 2, 3, 1).contiguous()
    params, slopes = tensors(values, surrogate.slope or 1.0, x)
    family, _, *shape = shape_of(surrogate)
    y, _, v = torch.ops.spikegrad.spike_pool(
        x.permute(0, 1, 3, 4, 2).contiguous(),
        v0,
        params,
        slopes,
        steps,
        RESETS.index(reset),
        not detach_reset,
        *kernel,
        family,
        *shape,
    )
    return y, v


def register() -> None:
    """Shapes and gradients of the operators."""
    torch.library.register_fake("spikegrad::spike_pool", fake)
    torch.library.register_fake("spikegrad::spike_pool_backward", fake_backward)
    torch.library.register_autograd("spikegrad::spike_pool", gradients, setup_context=keep)
    torch.library.register_autograd("spikegrad::spike_pool_backward", refuse)


def fake(
    x: Tensor,
    v0: Tensor | None,
    params: Tensor,
    slope: Tensor,
    steps: int,
    reset: int,
    attached: bool,
    kh: int,
    kw: int,
    *surrogate: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs' shapes and dtypes."""
    _, batch, height, width, channels = x.shape
    shape = (steps, batch, height // kh, width // kw, channels)
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.uint8), x.new_empty(x.shape[1:])


def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save the input, from which membranes are computed again, and where spikes came from."""
    x, v0, params, slope, *words = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, v0, output[1], params, slope)
    ctx.words = words


def gradients(
    ctx: Any, grad_y: Tensor | None, _: Tensor | None, grad_v: Tensor | None
) -> tuple[Any, ...]:
    """Gradients of x and the initial membrane."""
    x, v0, index, params, slope = ctx.saved_tensors
    *words, gain, peak = ctx.words
    dx, dv0 = torch.ops.spikegrad.spike_pool_backward(
        None if grad_y is None else grad_y.contiguous(),
        None if grad_v is None else grad_v.contiguous(),
        x,
        v0,
        index,
        params,
        slope,
        amplitude_of(slope, gain, peak),
        *words,
    )
    return dx, dv0 if v0 is not None else None, *[None] * 12


def fake_backward(
    grad_y: Tensor | None, grad_v: Tensor | None, x: Tensor, v0: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor]:
    """The gradients' shapes and dtypes."""
    return x.new_empty(x.shape), x.new_empty((0,) if v0 is None else x.shape[1:])
