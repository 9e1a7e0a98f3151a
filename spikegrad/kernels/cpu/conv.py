"""The convolution along the spikes: `functional.conv2d` at a cost that follows them.

Forward and weight gradient add up weight rows, or gradient rows, of the inputs that spiked. The
input's gradient follows the values of the incoming gradient that are not 0: behind a max-pool and
a surrogate of compact support most are exactly 0. Both choices are functions of the call's
shapes and counts alone, never of timings, so that runs repeat. Outputs are channels-last.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d as dense

from spikegrad.functional.conv import Pair, met
from spikegrad.kernels.cpu.eager import refuse
from spikegrad.kernels.cpu.library import isa
from spikegrad.kernels.cpu.schema import define

__all__ = ["SMALLEST", "Shares", "conv2d", "register", "shares"]


class Shares(NamedTuple):
    """Up to which share events are followed.

    spikes: of inputs that spike; gradient: of an output's gradient that is not 0.
    """

    spikes: float
    gradient: float


SHARES = {"avx2": Shares(0.5, 0.4)}
"""Measured by `python -m benchmarks.convolutions`."""
CAUTIOUS = Shares(0.25, 0.2)
"""Where nothing was measured."""
WIDE = 32
"""Channels of a product's result, below which vectors are half empty."""
SMALLEST = 1 << 22
"""Multiplications of the dense product below which it is taken without a look at the spikes."""


def conv2d(
    x: Tensor,
    *,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair | str = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """`functional.conv2d`, along the spikes where x is sparse zeros and ones in float32."""
    plain = not isinstance(padding, str) and tuple(dilation) == (1, 1) and groups == 1
    rows = x.flatten(0, 1)
    bits = spikes_of(rows, weight, stride, padding) if plain else None
    if bits is None:
        rows, stride, padding = met(rows, weight, stride, padding)
        y = dense(rows_last(rows), weight, bias, stride, padding, dilation, groups)
        return y.unflatten(0, x.shape[:2])
    words = [*stride, *padding]
    y = torch.ops.spikegrad.events_conv2d(rows, bits, weight.contiguous(), bias, words)
    return y.permute(0, 3, 1, 2).unflatten(0, x.shape[:2])


def shares(channels: int, outputs: int) -> Shares:
    """The shares for a layer of this size and the instruction set in use.

    >>> shares(64, 64).spikes > shares(64, 16).spikes
    True
    >>> shares(2, 64).gradient
    0.0
    """
    spikes, gradient = SHARES.get(isa(), CAUTIOUS)
    if outputs < WIDE:
        spikes *= 0.6
    if channels < WIDE:
        gradient = gradient / 2 if channels >= WIDE / 2 and outputs >= WIDE else 0.0
    return Shares(spikes, gradient)


def spikes_of(rows: Tensor, weight: Tensor, stride: Pair, padding: Any) -> Tensor | None:
    """The spikes of rows `[R, C, H, W]` as bits, or None where the dense product is better."""
    plain = rows.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    sizes = [
        n + 2 * p - k + s
        for n, p, k, s in zip(rows.shape[2:], padding, weight.shape[2:], stride, strict=True)
    ]
    outputs = sizes[0] // stride[0] * (sizes[1] // stride[1])
    if not plain or min(sizes) < 1 or rows.shape[0] * outputs * weight.numel() < SMALLEST:
        return None
    last = rows.detach().permute(0, 2, 3, 1).contiguous()
    bits, spikes = torch.ops.spikegrad.pack(last.flatten(1, 2))
    most = shares(weight.shape[1], weight.shape[0]).spikes
    if not 0 <= int(spikes) <= most * rows.numel():
        return None
    return bits.unflatten(1, last.shape[1:3])


def rows_last(rows: Tensor) -> Tensor:
    """Rows `[R, C, H, W]` channels-last in memory, in which float32 convolutions are fastest."""
    if rows.dtype != torch.float32:
        return rows
    if rows.shape[1] == 1:  # strides that say so, which contiguous() leaves alone
        return rows.contiguous().squeeze(1).unsqueeze(-1).permute(0, 3, 1, 2)
    return rows.contiguous(memory_format=torch.channels_last)


def register() -> None:
    """Schemas, shapes and gradients of the operators."""
    define("events_conv2d", fake)
    define("values_conv2d(Tensor x, Tensor weight, int[] words) -> Tensor")
    define(
        "events_conv2d_weight(Tensor bits, Tensor gradient, Tensor weight, int[] words) "
        "-> (Tensor dweight, Tensor dbias)"
    )
    torch.library.register_fake("spikegrad::events_conv2d", fake)
    torch.library.register_autograd("spikegrad::events_conv2d", gradients, setup_context=keep)
    torch.library.register_autograd("spikegrad::values_conv2d", refuse)
    torch.library.register_autograd("spikegrad::events_conv2d_weight", refuse)


def fake(
    x: Tensor,
    bits: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    words: list[int],
) -> Tensor:
    """The output's shape and dtype; words: the stride and the padding."""
    stride_h, stride_w, pad_h, pad_w = words
    height = (x.shape[2] + 2 * pad_h - weight.shape[2]) // stride_h + 1
    width = (x.shape[3] + 2 * pad_w - weight.shape[3]) // stride_w + 1
    return x.new_empty((x.shape[0], height, width, weight.shape[0]))


def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save the spikes as bits, and the weight."""
    x, bits, weight, _, words = inputs
    ctx.save_for_backward(bits, weight)
    ctx.shape, ctx.words = x.shape, words


def gradients(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    """dx along the gradient, those of weight and bias along the spikes."""
    bits, weight = ctx.saved_tensors
    gradient = gradient.contiguous()
    dx = dweight = dbias = None
    if ctx.needs_input_grad[0]:
        dx = input_gradient(gradient, weight, ctx.shape, *ctx.words)
    if ctx.needs_input_grad[2] or ctx.needs_input_grad[3]:
        dweight, dbias = torch.ops.spikegrad.events_conv2d_weight(bits, gradient, weight, ctx.words)
    return dx, None, dweight, dbias if ctx.needs_input_grad[3] else None, None


def input_gradient(
    gradient: Tensor, weight: Tensor, shape: torch.Size, sh: int, sw: int, ph: int, pw: int
) -> Tensor:
    """dx `[R, C, H, W]` from dy `[R, H', W', O]`."""
    sample = gradient[:: max(1, gradient.shape[0] // 16)]
    most = shares(weight.shape[1], weight.shape[0]).gradient
    sparse = int(torch.count_nonzero(sample)) <= most * sample.numel()
    if sparse and sh == sw == 1:
        around = weight.flip(2, 3).transpose(0, 1).contiguous()
        words = [1, 1, weight.shape[2] - 1 - ph, weight.shape[3] - 1 - pw]
        dx = torch.ops.spikegrad.values_conv2d(gradient, around, words)
        return dx.permute(0, 3, 1, 2)
    # Stands for the input, of which torch reads the shape and, for the gradient's, the layout; of
    # an expanded number it would make a tensor, and go on in the layout of torch's convolutions.
    x = torch.empty(shape, dtype=gradient.dtype, memory_format=torch.channels_last)
    return torch.ops.aten.convolution_backward(
        gradient.permute(0, 3, 1, 2),
        x,
        weight,
        None,
        (sh, sw),
        (ph, pw),
        (1, 1),
        False,
        (0, 0),
        1,
        (True, False, False),
    )[0]
