"""Neighbours in a `Sequential` that run as one: neurons and MaxPool2d.

Of a static input a Conv2d and a BatchNorm before them, too: one step then is all that they compute,
and its gradient is nowhere written for every step. Layers are fused where nobody can see what lies
between them: no hook, no recording, no subclass, no state that only one of them would have. Else
they run one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spikegrad import kernels
from spikegrad.nn.base import Neuron, does_as_its_class
from spikegrad.nn.connection import Conv2d, MaxPool2d, pair
from spikegrad.nn.fold import is_static
from spikegrad.nn.norm import BatchNorm
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
    before = still_head(layers) if is_static(x) else []
    ahead = len(before)
    pair = pair_of(layers[ahead : ahead + 2])
    if pair is None or any(watched(layer) for layer in (*before, *pair)):
        return None
    neuron, pool = pair
    stateless = (*states[:ahead], states[ahead + 1])
    if any(state is not None for state in stateless) or neuron.tape is not None:
        return None
    args, kernel = neuron.law_arguments(), windows(pool)
    if kernel is None:
        return None
    current = x[:1] if is_static(x) else x
    # Asked before anything runs: a convolution whose result is of no use would run twice.
    expected = behind(before, current)
    law = neuron.law
    if expected is None:
        return None
    choice = kernels.choose_pool(expected, kernel, law, neuron.backend, args)
    if isinstance(choice, str):
        return None
    start, steps = states[ahead], x.shape[0]
    for layer in before:
        current = once(layer, current, steps)
    try:
        y, state = choice.function(
            current, start, steps=steps, kernel=kernel, neuron=law, args=args
        )
    except kernels.BuildError:  # the neurons alone say so, and run as they can
        y, state = neuron(current.expand(steps, *current.shape[1:]), start)
        y = pool(y)
    return y, [*[None] * ahead, state, None]


def still_head(layers: Sequence[nn.Module]) -> list[Conv2d | BatchNorm]:
    """A convolution at the head of the layers and a batch norm behind it, as far as they are there:
    of a static input they compute one step.
    """
    kinds = (Conv2d, BatchNorm)
    found: list[Conv2d | BatchNorm] = []
    for layer, kind in zip(layers, kinds, strict=False):
        if type(layer) is not kind or (isinstance(layer, BatchNorm) and layer.axis != 2):
            break
        assert isinstance(layer, kinds)
        found.append(layer)
    return found


def once(layer: Conv2d | BatchNorm, x: Tensor, steps: int) -> Tensor:
    """The one step `[1, B, ...]` of a layer, which stands for so many."""
    if isinstance(layer, Conv2d):
        y: Tensor = layer(x)
        return y
    layer.check(x)
    return layer.normalise(x.squeeze(0), steps).unsqueeze(0)


def pair_of(layers: Sequence[nn.Module]) -> tuple[Neuron, MaxPool2d] | None:
    """Neurons and a pool, or None."""
    if len(layers) != 2 or type(layers[1]) is not MaxPool2d:
        return None
    neuron = layers[0]
    if isinstance(neuron, Neuron) and does_as_its_class(neuron, Neuron):
        return neuron, layers[1]
    return None


def behind(before: Sequence[Conv2d | BatchNorm], x: Tensor) -> Tensor | None:
    """A tensor like the output of the layers, without memory; None where there will be none."""
    conv = before[0] if before else None
    if conv is None:
        return x
    assert isinstance(conv, Conv2d)
    if any(isinstance(m, BatchNorm) and m.features != conv.out_channels for m in before):
        return None  # the layer itself says so
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
