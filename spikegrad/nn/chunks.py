"""Convolutional networks without a backward pass: a few steps at a time through all layers.

Nothing of the steps before is read again then, so currents, spikes and pools of a few steps stay
in the caches and take the same memory, where those of a whole sequence would each be written to
and read from memory: two to four times slower. Chunks equal the whole, states included, because
every layer here sees a step by itself or has a state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from spikegrad.nn.adaptive import ALIF
from spikegrad.nn.base import Neuron, has_own_forward
from spikegrad.nn.connection import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, pair
from spikegrad.nn.cuba import CUBALIF
from spikegrad.nn.dropout import Dropout
from spikegrad.nn.fold import PURE, is_static
from spikegrad.nn.fuse_conv import watched
from spikegrad.nn.lif import IF, LIF
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.readout import LI

__all__ = ["KEPT", "steps_at_once"]

KEPT = 1 << 25
"""Bytes of the widest layer's output that one chunk may have."""
NEURONS = (IF, LIF, CUBALIF, ALIF, LI)
BY_STEP = (Conv2d, AvgPool2d, MaxPool2d, Flatten, Linear)


def steps_at_once(layers: Sequence[nn.Module], x: Tensor) -> int:
    """How many steps of x `[T, B, C, H, W]` a network takes at a time; T where it must be all.

    >>> layers = [Conv2d(1, 64, 3), IF()]
    >>> x = torch.zeros(100, 32, 1, 34, 34)
    >>> steps_at_once(layers, x)
    100
    >>> with torch.no_grad():
    ...     steps_at_once(layers, x)
    4
    """
    whole = int(x.shape[0])
    if torch.is_grad_enabled() or x.dim() != 5 or x.device.type != "cpu" or is_static(x):
        return whole
    if torch.compiler.is_compiling() or not any(type(layer) is Conv2d for layer in layers):
        return whole
    if not all(by_step(layer) for layer in layers):
        return whole
    widest = max(sizes(layers, list(x.shape[2:])))
    most = KEPT // max(1, int(x.shape[1]) * widest * x.element_size())
    return min(whole, max(1, most))


def by_step(layer: nn.Module) -> bool:
    """Whether a layer may see its input chunk by chunk, and nobody looks inside."""
    if watched(layer) or has_own_forward(layer, type(layer)):
        return False
    if isinstance(layer, Neuron):
        alone = layer.tape is None and layer.output != "both" and "bound" not in vars(layer)
        return type(layer) in NEURONS and alone
    if isinstance(layer, (BatchNorm, Dropout)):
        return not layer.training and type(layer) in (BatchNorm, Dropout)
    return type(layer) in BY_STEP or isinstance(layer, PURE)


def sizes(layers: Sequence[nn.Module], shape: list[int]) -> Iterator[int]:
    """Numbers of one sample at one step, behind every layer."""
    count = torch.Size(shape).numel()
    yield count
    for layer in layers:
        if isinstance(layer, Linear):
            count, shape = layer.out_features, [layer.out_features]
        elif isinstance(layer, (Conv2d, AvgPool2d, MaxPool2d)) and len(shape) == 3:
            shape = behind(layer, shape)
            count = torch.Size(shape).numel()
        yield count


def behind(layer: Conv2d | AvgPool2d | MaxPool2d, shape: list[int]) -> list[int]:
    """The shape `[C, H, W]` behind a convolution or pool, to a pixel."""
    kernel, stride = pair(layer.kernel_size), pair(layer.stride)
    padding = (0, 0) if isinstance(layer.padding, str) else pair(layer.padding)
    channels = layer.out_channels if isinstance(layer, Conv2d) else shape[0]
    if isinstance(layer.padding, str) and layer.padding == "same":
        return [channels, *shape[1:]]
    plane = [
        max(1, (n + 2 * p - k) // s + 1)
        for n, k, s, p in zip(shape[1:], kernel, stride, padding, strict=True)
    ]
    return [channels, *plane]
