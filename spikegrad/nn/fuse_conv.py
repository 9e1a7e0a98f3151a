"""Neighbours in a `Sequential` that run as one: [Conv2d of a static input,] neurons, MaxPool2d.

A pair is fused where nobody can see what lies between its layers: no hook, no recording, no
subclass, no state that only one of the layers would have. Else the layers run one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spikegrad import kernels
from spikegrad.nn.base import Neuron, does_as_its_class
from spikegrad.nn.connection import Conv2d, MaxPool2d, pair
from spikegrad.nn.fold import is_static, one_step
from spikegrad.types import State

__all__ = ["run_ahead"]


def run_ahead(
    layers: Sequence[nn.Module], x: Tensor, states: Sequence[State]
) -> tuple[Tensor, list[State]] | None:
    """The first layers of a sequence as one: the output and their states, or None.

    x: `[T, B, C, H, W]`. The number of states is the number of layers that ran.

    >>> from spikegrad.nn import LIF
    >>> layers = [LIF(20.0), MaxPool2d(2)]
    >>> y, states = run_ahead(layers, torch.rand(4, 2, 1, 6, 6), [None, None])
    >>> y.shape, len(states)
    (torch.Size([4, 2, 1, 3, 3]), 2)
    """
    if not isinstance(x, Tensor) or x.dim() != 5:
        return None
    before, neuron, pool = triple(layers, x)
    if neuron is None or pool is None or any(watched(layer) for layer in (before, neuron, pool)):
        return None
    ahead = 0 if before is None else 1
    if (
        (ahead and states[0] is not None)
        or states[ahead + 1] is not None
        or neuron.tape is not None
    ):
        return None
    args, kernel = neuron.law_arguments(), windows(pool)
    if kernel is None:
        return None
    current = one_step(x)
    # Asked before anything runs: a convolution whose result is of no use would run twice.
    expected = current if before is None else behind(before, current)
    law = neuron.law
    if expected is None:
        return None
    choice = kernels.choose_pool(expected, kernel, law, neuron.backend, args)
    if isinstance(choice, str):
        return None
    start = states[ahead]
    try:
        if before is not None:
            current = before(current)
        y, state = choice.function(
            current, start, steps=x.shape[0], kernel=kernel, neuron=law, args=args
        )
    except kernels.BuildError:  # the neurons alone say so, and run as they can
        return None
    return y, [*[None] * ahead, state, None]


def triple(
    layers: Sequence[nn.Module], x: Tensor
) -> tuple[Conv2d | None, Neuron | None, MaxPool2d | None]:
    """A convolution where x is static, a neuron and a pool at the head of the layers, or Nones."""
    before = layers[0] if layers and type(layers[0]) is Conv2d and is_static(x) else None
    two = layers[1:3] if before is not None else layers[:2]
    if len(two) != 2 or type(two[1]) is not MaxPool2d:
        return None, None, None
    neuron = two[0]
    if isinstance(neuron, Neuron) and does_as_its_class(neuron, Neuron):
        return before, neuron, two[1]
    return None, None, None


def behind(conv: Conv2d, x: Tensor) -> Tensor | None:
    """A tensor like the convolution's output, without memory; None where there will be none."""
    if x.dtype != conv.weight.dtype or torch.is_autocast_enabled("cpu"):
        return None
    sizes = list(x.shape[3:])
    if conv.padding != "same":
        padding = (0, 0) if isinstance(conv.padding, str) else pair(conv.padding)
        kernel, stride, dilation = (pair(v) for v in (conv.kernel_size, conv.stride, conv.dilation))
        sizes = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(sizes, padding, dilation, kernel, stride, strict=True)
        ]
    if min(sizes) < 1:
        return None
    return x.new_zeros(()).expand(*x.shape[:2], conv.out_channels, *sizes)


def windows(pool: MaxPool2d) -> tuple[int, int] | None:
    """The size of a pool's windows, or None where they overlap, leave gaps or reach outside."""
    size, stride = pair(pool.kernel_size), pair(pool.stride)
    plain = pair(pool.padding) == (0, 0) and pair(pool.dilation) == (1, 1)
    if not plain or size != stride or pool.ceil_mode or pool.return_indices:
        return None
    return size


def watched(layer: nn.Module | None) -> bool:
    """Whether hooks see what goes into a layer or comes out of it, or it has a forward of its own
    on the object.
    """
    if layer is not None and "forward" in vars(layer):
        return True
    kinds = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    everywhere = nn.modules.module
    return any(
        getattr(layer, f"_{kind}", None) or getattr(everywhere, f"_global_{kind}") for kind in kinds
    )
