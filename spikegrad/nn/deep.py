"""Deep convolutional recipes: spike-element-wise residual networks and spiking VGGs.

Each returns a `Sequential` from `[T, B, C, H, W]` to `[T, B, classes]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from spikegrad.checks import check_choice
from spikegrad.errors import UserError, message
from spikegrad.nn.base import Neuron
from spikegrad.nn.branch import Join, Residual
from spikegrad.nn.connection import Conv2d, Flatten, Linear, MaxPool2d
from spikegrad.nn.dropout import Dropout
from spikegrad.nn.everywhere import AdaptiveAvgPool2d
from spikegrad.nn.lif import IF, LIF
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.sequential import Sequential
from spikegrad.stages import per_stage

__all__ = ["sew_resnet", "sew_resnet18", "vgg"]

NeuronOf = Callable[[Any], Neuron]


def integrator(features: Any) -> Neuron:
    """IF with an arctan: the neuron of the SEW paper."""
    return IF()


def leaky(features: Any) -> Neuron:
    """LIF with a membrane of 2 ms."""
    return LIF(2.0)


def sew_resnet(
    shape: Sequence[int],
    classes: int,
    *,
    channels: Sequence[int] = (32, 64),
    blocks: Sequence[int] = (1,),
    join: Join = "add",
    neuron: NeuronOf = integrator,
) -> Sequential:
    """A spike-element-wise residual network: a stem, stages of blocks, a mean over space.

    shape: `[C, H, W]` of the input; channels: of every stage, each but the first halves height and
    width; blocks: of every stage, or one number for all; join: of a block's spikes with those of
    its skip connection; neuron: makes a layer, given its shape `(C, 1, 1)`. By default small enough
    for images of 28 x 28 on a CPU.

    Source: Fang, Yu, Chen, Huang, Masquelier & Tian (2021), "Deep residual learning in spiking
    neural networks", NeurIPS.

    >>> import torch
    >>> sew_resnet([1, 28, 28], 10, channels=[8, 16])(torch.rand(4, 2, 1, 28, 28))[0].shape
    torch.Size([4, 2, 10])
    """
    check_shape(shape)
    check_choice(join, "join", ("add", "and", "iand"))  # concat would change the channels
    check_counts("channels", channels)
    blocks = per_stage("blocks", blocks, len(channels))
    if min(shape[1:]) < 2 ** (len(channels) - 1):
        expected = f"expected images of at least {2 ** (len(channels) - 1)} pixels a side"
        raise UserError(message(expected, str(list(shape)), "use fewer stages"))
    layers: list[nn.Module] = convolution(shape[0], channels[0], neuron)
    before = channels[0]
    for stage, (size, many) in enumerate(zip(channels, blocks, strict=True)):
        for place in range(many):
            stride = 2 if stage > 0 and place == 0 else 1
            layers.append(sew_block(before, size, stride, join, neuron))
            before = size
    return Sequential(*layers, AdaptiveAvgPool2d(1), Flatten(), Linear(before, classes))


def sew_resnet18(
    shape: Sequence[int], classes: int, *, join: Join = "add", neuron: NeuronOf = integrator
) -> Sequential:
    """SEW-ResNet-18 in its form for small images (CIFAR): a stem of 3 x 3 without a pool.

    >>> sum(p.numel() for p in sew_resnet18([3, 32, 32], 10).parameters())
    11173962
    """
    return sew_resnet(
        shape, classes, channels=(64, 128, 256, 512), blocks=(2, 2, 2, 2), join=join, neuron=neuron
    )


def vgg(
    shape: Sequence[int],
    classes: int,
    *,
    channels: Sequence[Sequence[int]] = ((64, 64), (128, 128), (256, 256, 256)),
    dense: Sequence[int] = (512,),
    dropout: float = 0.0,
    neuron: NeuronOf = leaky,
) -> Sequential:
    """A spiking VGG: groups of 3 x 3 convolutions with norm and neurons, a pool behind each group.

    shape: `[C, H, W]` of the input; channels: of the convolutions, group by group; dense: spiking
    layers behind; dropout: in front of each of those and of the output; neuron: makes a layer of a
    size, `(C, 1, 1)` behind a convolution.

    Sources: Simonyan & Zisserman (2015), ICLR; Sengupta, Ye, Wang, Liu & Roy (2019), "Going deeper
    in spiking neural networks: VGG and residual architectures", Frontiers in Neuroscience 13:95.

    >>> import torch
    >>> small = vgg([1, 28, 28], 10, channels=[[8], [16, 16]], dense=[32])
    >>> small(torch.rand(4, 2, 1, 28, 28))[0].shape
    torch.Size([4, 2, 10])
    """
    check_shape(shape)
    if len(channels) == 0:
        raise UserError(message("expected at least one group of channels", "none"))
    if not 0.0 <= dropout < 1.0:
        raise UserError(message("expected dropout in [0, 1)", str(dropout)))
    if min(shape[1:]) >> len(channels) == 0:
        most = min(shape[1:]).bit_length() - 1
        raise UserError(
            message(f"expected at most {most} groups for {list(shape)}", str(len(channels)))
        )
    layers: list[nn.Module] = []
    before = shape[0]
    for group in channels:
        check_counts("a group of channels", group)
        for size in group:
            layers += convolution(before, size, neuron)
            before = size
        layers.append(MaxPool2d(2))
    flat = before * (shape[1] >> len(channels)) * (shape[2] >> len(channels))
    layers.append(Flatten())
    if len(dense) > 0:
        check_counts("dense", dense)
    for size in dense:
        drop = [Dropout(dropout)] if dropout else []
        layers += [*drop, Linear(flat, size, bias=False), BatchNorm(size), neuron(size)]
        flat = size
    drop = [Dropout(dropout)] if dropout else []
    return Sequential(*layers, *drop, Linear(flat, classes))


def convolution(
    before: int, size: int, neuron: NeuronOf, kernel: int = 3, stride: int = 1
) -> list[nn.Module]:
    """A convolution that keeps height and width, or halves them; its norm and its neurons."""
    conv = Conv2d(before, size, kernel, stride=stride, padding=kernel // 2, bias=False)
    return [conv, BatchNorm(size), neuron((size, 1, 1))]


def sew_block(before: int, size: int, stride: int, join: Join, neuron: NeuronOf) -> Residual:
    """Two convolutions with a skip connection of spikes; where sizes differ, through 1 x 1."""
    body = [*convolution(before, size, neuron, stride=stride), *convolution(size, size, neuron)]
    same = before == size and stride == 1
    skip = None if same else convolution(before, size, neuron, kernel=1, stride=stride)
    return Residual(body, skip, join=join)


def check_shape(shape: Sequence[int]) -> None:
    """`[C, H, W]`, each at least 1."""
    if len(shape) != 3 or any(int(n) != n or n < 1 for n in shape):
        raise UserError(message("expected an input of shape [C, H, W]", str(list(shape))))


def check_counts(name: str, counts: Sequence[int]) -> None:
    """Whole numbers of at least 1, one at least."""
    if len(counts) == 0 or any(int(n) != n or n < 1 for n in counts):
        raise UserError(message(f"expected {name} as whole numbers >= 1", str(list(counts))))
