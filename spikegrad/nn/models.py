"""Recipes: fully connected, recurrent and convolutional classifiers, and the article's network.

Each is a function that returns a `Sequential`; every model maps `[T, B, *features]` to an output
sequence `[T, B, C]`, which a readout turns into scores. `Classifier` does both ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from spikegrad.checks import check_choice
from spikegrad.errors import UserError, message
from spikegrad.nn.base import Neuron
from spikegrad.nn.connection import Conv2d, Flatten, Linear, MaxPool2d
from spikegrad.nn.cuba import CUBALIF
from spikegrad.nn.deep import sew_resnet, sew_resnet18, vgg
from spikegrad.nn.dropout import Dropout
from spikegrad.nn.init import initialise
from spikegrad.nn.lif import LIF
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.quantity import Size
from spikegrad.nn.readout import LI
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.sequential import Sequential
from spikegrad.stages import per_stage

__all__ = ["article", "conv", "mlp", "recurrent", "sew_resnet", "sew_resnet18", "vgg"]

NeuronOf = Callable[[Any], Neuron]
Readout = Literal["linear", "spikes", "li"]


def default_neuron(features: Size) -> Neuron:
    """LIF with a membrane of 10 ms: the article's section 6."""
    return LIF(10.0)


def mlp(
    inputs: int,
    hidden: Sequence[int],
    classes: int,
    *,
    neuron: NeuronOf = default_neuron,
    batch_norm: bool = False,
    dropout: float = 0.0,
    readout: Readout = "linear",
    tau_out: float = 20.0,
) -> Sequential:
    """A fully connected spiking classifier, `[T, B, *features] -> [T, B, classes]`.

    inputs: input features in all; hidden: sizes of the spiking layers; neuron: makes a layer of a
    size; readout: "linear" (currents of a last connection), "spikes" (output neurons), "li"
    (membranes of leaky integrators with tau_out ms).

    >>> network = mlp(784, [256], 10)
    >>> network(torch.rand(5, 2, 28, 28))[0].shape
    torch.Size([5, 2, 10])
    """
    check_layers("hidden", hidden)
    check_sizes(inputs, *hidden, classes)
    layers = dense_blocks(inputs, hidden, neuron, batch_norm, dropout)
    return Sequential(Flatten(), *layers, *head(hidden[-1], classes, neuron, readout, tau_out))


def recurrent(
    inputs: int,
    hidden: Sequence[int],
    classes: int,
    *,
    neuron: NeuronOf = default_neuron,
    batch_norm: bool = False,
    dropout: float = 0.0,
    readout: Readout = "li",
    tau_out: float = 20.0,
) -> Sequential:
    """`mlp` whose hidden layers have learned feedback.

    >>> network = recurrent(700, [128], 20)
    >>> network(torch.rand(5, 2, 700))[0].shape
    torch.Size([5, 2, 20])
    """
    check_layers("hidden", hidden)
    check_sizes(inputs, *hidden, classes)

    def fed_back(size: int) -> nn.Module:
        return Recurrent(neuron(size), size)

    layers = dense_blocks(inputs, hidden, fed_back, batch_norm, dropout)
    return Sequential(Flatten(), *layers, *head(hidden[-1], classes, neuron, readout, tau_out))


def conv(
    shape: Sequence[int],
    channels: Sequence[int],
    dense: Sequence[int],
    classes: int,
    *,
    blocks: Sequence[int] = (1,),
    neuron: NeuronOf = default_neuron,
    batch_norm: bool = False,
    dropout: float = 0.0,
    readout: Readout = "linear",
    tau_out: float = 20.0,
) -> Sequential:
    """A convolutional spiking classifier: stages of 3x3 convolutions, each pooled by 2 at its end.

    shape: `[C, H, W]` of the input; channels: of the stages; dense: spiking layers behind; blocks:
    convolutions of every stage, each with its neurons, or one number for all stages; neuron: makes
    a layer of a size, `(C, 1, 1)` behind a convolution: learned per channel.
    `conv([1, 28, 28], [32, 64], [256], 10, blocks=[1, 2])` is 32C3-P2-64C3-64C3-P2-256-10.

    >>> network = conv([1, 28, 28], [4, 8], [16], 10)
    >>> network(torch.rand(3, 2, 1, 28, 28))[0].shape
    torch.Size([3, 2, 10])
    """
    if len(shape) != 3:
        raise UserError(message("expected an input of shape [C, H, W]", str(list(shape))))
    check_layers("channels", channels)
    check_sizes(*shape, *channels, *dense, classes)
    blocks = per_stage("blocks", blocks, len(channels))
    if min(shape[1:]) >> len(channels) == 0:
        most = min(shape[1:]).bit_length() - 1
        raise UserError(
            message(
                f"expected at most {most} stages for {list(shape)}",
                str(len(channels)),
                "each halves the picture",
            )
        )
    layers: list[nn.Module] = []
    before = shape[0]
    for size, many in zip(channels, blocks, strict=True):
        for _ in range(many):
            one = Conv2d(before, size, 3, padding=1, bias=not batch_norm)
            layers += block(one, size, neuron((size, 1, 1)), batch_norm, 0.0)
            before = size
        layers.append(MaxPool2d(2))
    flat = channels[-1] * (shape[1] >> len(channels)) * (shape[2] >> len(channels))
    layers += [Flatten(), *dense_blocks(flat, dense, neuron, batch_norm, dropout)]
    last = dense[-1] if dense else flat
    return Sequential(*layers, *head(last, classes, neuron, readout, tau_out))


def article(
    inputs: int = 784,
    hidden: int = 256,
    classes: int = 10,
    *,
    readout: Literal["rate", "li"] = "rate",
    as_written: bool = False,
) -> Sequential:
    """The article's `SNNBPTT`: two current-based layers, then a readout.

    readout: "rate" (a linear layer on the output spikes; its mean over time reads their rate) or
    "li" (leaky integrators in place of the second spiking layer).
    As written, its gains (0.18 for the synapse, 0.1 for the membrane) and weights of 0.1 leave the
    output layer silent for any MNIST-like input at T = 10, 25 and 100: its membrane reaches 0.01,
    0.07 and 0.12 of the threshold. With a surrogate that ends before that (boxcar, triangle of
    slope 2) all gradients but the last bias's are exactly 0; with the tails of an arctan the last
    weight's is, and the others are 40 to 10,000 times smaller than here. Here the membrane takes
    its input with gain 1 and the weights are Kaiming with the article's own gain of 1.5.

    >>> y, _ = article()(torch.rand(10, 2, 784))
    >>> y.shape
    torch.Size([10, 2, 10])
    """
    check_choice(readout, "readout", ("rate", "li"))

    def layer() -> CUBALIF:
        return CUBALIF(
            10.0,
            5.0,
            gain_syn="leak",
            gain_mem="leak" if as_written else "unit",
            integration_mem="euler" if as_written else "exponential",
            reset="zero" if as_written else "subtract",
        )

    first, second = Linear(inputs, hidden), Linear(hidden, classes)
    if readout == "rate":
        network = Sequential(first, layer(), second, layer(), Linear(classes, classes))
    else:
        network = Sequential(first, layer(), second, LI(20.0))
    if not as_written:
        initialise(network, "kaiming", gain=1.5)
        return network
    with torch.no_grad():
        for linear in (first, second):
            linear.weight.normal_(0.0, 0.1)
            linear.bias.zero_()
    return network


def block(
    connection: nn.Module, size: int, neuron: nn.Module, batch_norm: bool, dropout: float
) -> list[nn.Module]:
    """Connection, norm, neuron, dropout."""
    norm = [BatchNorm(size)] if batch_norm else []
    drop = [Dropout(dropout)] if dropout else []
    return [connection, *norm, neuron, *drop]


def dense_blocks(
    inputs: int,
    sizes: Sequence[int],
    neuron: Callable[[int], nn.Module],
    batch_norm: bool,
    dropout: float,
) -> list[nn.Module]:
    """Fully connected blocks, one behind the other."""
    layers: list[nn.Module] = []
    for before, size in zip([inputs, *sizes], sizes, strict=False):
        one = Linear(before, size, bias=not batch_norm)
        layers += block(one, size, neuron(size), batch_norm, dropout)
    return layers


def head(
    inputs: int, classes: int, neuron: NeuronOf, readout: Readout, tau_out: float
) -> list[nn.Module]:
    """The output layer of a classifier."""
    check_choice(readout, "readout", ("linear", "spikes", "li"))
    last = Linear(inputs, classes)
    if readout == "linear":
        return [last]
    return [last, neuron(classes) if readout == "spikes" else LI(tau_out)]


def check_layers(name: str, sizes: Sequence[int]) -> None:
    """At least one layer."""
    if len(sizes) == 0:
        raise UserError(message(f"expected at least one size in {name}", "none", f"{name}=[256]"))


def check_sizes(*sizes: int) -> None:
    """Layer sizes of at least 1."""
    if len(sizes) < 2 or any(int(size) != size or size < 1 for size in sizes):
        raise UserError(message("expected layer sizes >= 1", str(list(sizes))))
