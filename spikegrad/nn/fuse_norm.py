"""Neighbours in a `Sequential` that run as one on a GPU: [Linear,] BatchNorm, neurons.

The normalised input is `(x + offset) scale + shift` with three numbers a channel, which the scan
computes as it reads x: nobody writes it. In training the three are functions of x's moments.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from spikegrad import kernels
from spikegrad.nn.base import Neuron, plain
from spikegrad.nn.connection import Linear, check_features
from spikegrad.nn.fold import is_static
from spikegrad.nn.norm import BatchNorm, is_distributed
from spikegrad.types import State

__all__ = ["NORMED", "run_normed"]

NORMED = "a Triton scan that normalises its input"


def run_normed(
    layers: Sequence[nn.Module], x: Tensor, states: Sequence[State]
) -> tuple[Tensor, list[State]] | None:
    """The first layers of a sequence as one: the output and their states, or None.

    x: `[T, B, *features]`. The number of states is the number of layers that ran.
    """
    found = normed(layers) if isinstance(x, Tensor) else None
    if found is None:
        return None
    linear, norm, neuron = found
    ahead = 0 if linear is None else 1
    if any(state is not None for state in states[: ahead + 1]):
        return None  # a stateless layer says so
    args, law = neuron.law_arguments(), neuron.law
    choice = kernels.choose_normed(x, law, neuron.backend, args)
    if isinstance(choice, str):
        return None
    once = x[:1] if is_static(x) else x
    if linear is not None:
        check_features("Linear", x, f"[T, B, {linear.in_features}]", linear.in_features, 2)
        once = kernels.linear(
            once, weight=linear.weight, bias=None, edges=linear.edges, backend=linear.backend
        )
    norm.check(once)
    offset, scale, shift = norm.numbers(
        once.flatten(0, 1), x.shape[0] // once.shape[0], None if linear is None else linear.bias
    )
    y, after = choice.function(
        once.expand(x.shape[0], *once.shape[1:]),
        states[ahead + 1],
        offset=offset,
        scale=scale,
        shift=shift,
        neuron=law,
        args=args,
        lean=neuron.lean,
    )
    if neuron.tape is not None:
        neuron.tape.add_output(y)
    return y, [*[None] * (ahead + 1), after]


def normed(layers: Sequence[nn.Module]) -> tuple[Linear | None, BatchNorm, Neuron] | None:
    """A connection or None, a batch norm and neurons at the head of the layers, or None."""
    linear = layers[0] if layers and plain(layers[0], Linear) else None
    two = layers[1:3] if linear is not None else layers[:2]
    if len(two) != 2:
        return None
    norm, neuron = two
    if not isinstance(norm, BatchNorm) or type(norm) is not BatchNorm or not plain(norm, BatchNorm):
        return None
    if norm.training and is_distributed():
        return None  # moments of all processes
    if not isinstance(neuron, Neuron) or not plain(neuron, Neuron):
        return None
    if neuron.tape is not None and (neuron.tape.membrane_wanted or neuron.output != "spikes"):
        return None
    assert linear is None or isinstance(linear, Linear)
    return linear, norm, neuron
