"""Neighbours in a `Sequential` that run as one on a GPU: [Linear,] BatchNorm, neurons.

The normalised input is `(x + offset) scale + shift` with three numbers a channel, which the scan
computes as it reads x: nobody writes it. In training the three are functions of x's moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from spikegrad import kernels
from spikegrad.nn.base import Neuron, plain
from spikegrad.nn.connection import Linear, check_features
from spikegrad.nn.fold import is_static
from spikegrad.nn.norm import BatchNorm, is_distributed
from spikegrad.types import State

__all__ = ["NORMED", "Normed", "normed_at", "run_normed"]

NORMED = "a Triton scan that normalises its input"


class Normed(NamedTuple):
    """`width` layers that run as one; choice: what runs them, with the neurons' arguments."""

    linear: Linear | None
    norm: BatchNorm
    neuron: Neuron
    width: int
    choice: kernels.Choice
    args: dict[str, Any]


def normed_at(layers: Sequence[nn.Module], x: Any, states: Sequence[State]) -> Normed | None:
    """The first layers of a sequence that run as one over x `[T, B, *features]`, or None."""
    found = normed(layers) if isinstance(x, Tensor) else None
    if found is None:
        return None
    linear, norm, neuron = found
    if norm.axis == -1 and x.dim() > 3:
        return None
    ahead = 0 if linear is None else 1
    if any(state is not None for state in states[: ahead + 1]):
        return None  # a stateless layer says so
    args = neuron.law_arguments()
    choice = kernels.choose_normed(x, neuron.law, neuron.backend, args)
    if isinstance(choice, str):
        return None
    return Normed(linear, norm, neuron, ahead + 2, choice, args)


def run_normed(
    found: Normed, x: Tensor, states: Sequence[State], *, pass_on: bool
) -> tuple[Any, list[State]]:
    """The output and the states of all its layers; with pass_on its spikes stay bits."""
    linear, norm, neuron = found.linear, found.norm, found.neuron
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
    y, after = found.choice.function(
        once.expand(x.shape[0], *once.shape[1:]),
        states[found.width - 1],
        offset=offset,
        scale=scale,
        shift=shift,
        neuron=neuron.law,
        args=found.args,
        lean=neuron.lean,
        pass_on=pass_on and neuron.tape is None,
    )
    if neuron.tape is not None:
        neuron.tape.add_output(y)
    return y, [*[None] * (found.width - 1), after]


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
