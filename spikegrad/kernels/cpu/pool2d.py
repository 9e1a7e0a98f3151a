"""Max-pooling of channels-last sequences: torch's maxima and torch's choice among equals.

Which pixel of a window it was is a byte, not eight; other inputs are torch's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.functional import max_pool2d as plain
from spikegrad.functional.conv import Pair
from spikegrad.kernels.cpu.schema import define
from spikegrad.kernels.cpu.strides import is_channels_last

__all__ = ["max_pool2d", "register"]

LARGEST = 256
"""Pixels of a window, as many as a byte can tell apart."""


def max_pool2d(x: Tensor, *, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> Tensor:
    """`functional.max_pool2d`, natively where x has its channels last in memory."""
    if not fits(x, kernel, stride, padding):
        return plain(x, kernel=kernel, stride=stride, padding=padding)
    rows = x.flatten(0, 1).permute(0, 2, 3, 1)
    y, _ = torch.ops.spikegrad.max_pool2d(rows.contiguous(), [*kernel, *stride, *padding])
    return y.permute(0, 3, 1, 2).unflatten(0, x.shape[:2])


def fits(x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> bool:
    """Whether the native pool does this; torch says what is wrong with what nobody does."""
    if x.dtype not in (torch.float32, torch.float64) or not is_channels_last(x):
        return False
    inside = all(
        1 <= k <= n + 2 * p and s >= 1 and 0 <= 2 * p <= k
        for n, k, s, p in zip(x.shape[3:], kernel, stride, padding, strict=True)
    )
    return inside and kernel[0] * kernel[1] <= LARGEST


def register() -> None:
    """Schemas, shapes and gradients of the operators."""
    define("max_pool2d", fake, "y index")
    define("max_pool2d_backward", fake_backward)
    torch.library.register_fake("spikegrad::max_pool2d", fake)
    torch.library.register_autograd("spikegrad::max_pool2d", gradients, setup_context=keep)
    torch.library.register_fake("spikegrad::max_pool2d_backward", fake_backward)
    torch.library.register_autograd(
        "spikegrad::max_pool2d_backward", second, setup_context=keep_for_second
    )


def fake(x: Tensor, words: list[int]) -> tuple[Tensor, Tensor]:
    """The outputs' shapes and dtypes; words: kernel, stride and padding."""
    kh, kw, stride_h, stride_w, pad_h, pad_w = words
    height = (x.shape[1] + 2 * pad_h - kh) // stride_h + 1
    width = (x.shape[2] + 2 * pad_w - kw) // stride_w + 1
    shape = (x.shape[0], height, width, x.shape[3])
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.uint8)


def fake_backward(
    gradient: Tensor, index: Tensor, height: int, width: int, words: list[int]
) -> Tensor:
    """The gradient's shape and dtype."""
    return gradient.new_empty((gradient.shape[0], height, width, gradient.shape[3]))


def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save which pixels the maxima were."""
    x, ctx.words = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])
    ctx.size = x.shape[1:3]


def gradients(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    """dx: a window's gradient where its maximum was."""
    (index,) = ctx.saved_tensors
    dx = torch.ops.spikegrad.max_pool2d_backward(gradient.contiguous(), index, *ctx.size, ctx.words)
    return dx, None


def keep_for_second(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save which pixels the maxima were."""
    _, index, _, _, ctx.words = inputs
    ctx.save_for_backward(index)


def second(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    """The gradient by a window's gradient: what stands where its maximum was."""
    (index,) = ctx.saved_tensors
    _, kw, stride_h, stride_w, pad_h, pad_w = ctx.words
    images, height, width, channels = index.shape
    k = index.long()
    rows = torch.arange(height).view(-1, 1, 1) * stride_h - pad_h + k // kw
    columns = torch.arange(width).view(-1, 1) * stride_w - pad_w + k % kw
    at = (rows * gradient.shape[2] + columns).reshape(images, -1, channels)
    out = gradient.reshape(images, -1, channels).gather(1, at).reshape(index.shape)
    return out, *[None] * 4
