"""Adjacent layers that run as one: a `Linear`, the neurons behind it, and their feedback.

What is fused follows from the layers and this call's tensors alone; `reason` says why a place is
not. A layer with hooks, of a class with a `forward` of its own, or whose membrane is being recorded
runs by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from spikegrad import kernels
from spikegrad.functional.recurrent import check_feedback
from spikegrad.nn.base import Neuron, does_as_its_class, plain
from spikegrad.nn.connection import Linear, check_features
from spikegrad.nn.fold import is_static
from spikegrad.nn.recurrent import Recurrent, inputs_of, of_inputs
from spikegrad.nn.sources import Joint
from spikegrad.ragged import Packed, Packing
from spikegrad.types import State

__all__ = ["Block", "block_at", "run_block"]


class Block(NamedTuple):
    """`width` layers that run in one call, from a connection on, or from several together; choice:
    what runs them; divided: what divides the currents among several inputs of the neurons.
    """

    connection: Linear | Joint
    neuron: Neuron | None
    feedback: Recurrent | None
    width: int
    choice: kernels.Choice | None = None
    divided: nn.Unflatten | None = None

    @property
    def backends(self) -> tuple[str, ...]:
        """What was asked for, layer by layer."""
        neuron = () if self.neuron is None else (self.neuron.backend,)
        feedback = () if self.feedback is None else (self.feedback.connection.backend,)
        return (self.connection.backend, *neuron, *feedback)


def block_at(layers: Sequence[Any], position: int, x: Any, *, ahead: bool = False) -> Block | str:
    """The block that starts at a position, or why there is none.

    ahead: x is what enters the block before, whose spikes will enter this one.
    """
    block = shape_of(layers, position)
    if isinstance(block, str):
        return block
    ragged = type(x) is Packed
    x = x.like if ragged else x
    if isinstance(x, Tensor) and x.dim() > 3:
        return "features in several dimensions"
    if not ahead and block.neuron is None and isinstance(x, Tensor) and is_static(x):
        return "a connection without neurons computes an input that is constant in time once"
    choice = kernels.choose_layer(
        x,
        block.connection.weight,
        None if block.neuron is None else block.neuron.law,
        getattr(block.neuron, "surrogate", None),
        block.backends,
        feedback=block.feedback is not None,
        edges=block.connection.edges,
        feedback_edges=None if block.feedback is None else block.feedback.connection.edges,
        ahead=ahead,
        ragged=ragged,
    )
    if isinstance(choice, str) and block.divided is not None:
        return block_at(layers[position : position + 1], 0, x, ahead=ahead)
    return choice if isinstance(choice, str) else block._replace(choice=choice)


def shape_of(layers: Sequence[Any], position: int) -> Block | str:
    """The same by the layers alone."""
    first = layers[position]
    if type(first) is not Joint and not plain(first, Linear):
        return f"{type(first).__name__} is not a plain Linear"
    assert isinstance(first, (Linear, Joint))
    second = layers[position + 1] if position + 1 < len(layers) else None
    divided = None
    if isinstance(second, nn.Unflatten) and plain(second, nn.Unflatten):
        divided, second = second, layers[position + 2] if position + 2 < len(layers) else None
    feedback = None
    neuron: Any = second
    if isinstance(second, Recurrent) and plain(second, Recurrent):
        feedback, neuron = second, second.neuron
        if not does_as_its_class(second.connection, Linear):  # Recurrent says so
            return Block(first, None, None, 1)
    if not isinstance(neuron, Neuron) or not plain(neuron, Neuron):
        return Block(first, None, None, 1)
    if not divides(divided, first, neuron):
        return Block(first, None, None, 1)
    if neuron.tape is not None and neuron.tape.membrane_wanted:
        return "its membrane is recorded"
    if neuron.output != "spikes" and (neuron.tape is not None or feedback is not None):
        return "its membrane is its output"
    return Block(first, neuron, feedback, 2 if divided is None else 3, divided=divided)


def divides(layer: Any, connection: Linear | Joint, neuron: Neuron) -> bool:
    """Whether neurons with several inputs get them from an `Unflatten` of the connection's
    currents; those with one input from the connection itself, without a layer.
    """
    inputs = len(inputs_of(neuron))
    if layer is None or not inputs:
        return layer is None and not inputs
    whole = connection.out_features
    return (
        layer.dim in (1, -1)
        and whole % inputs == 0
        and tuple(layer.unflattened_size) in ((inputs, whole // inputs), (inputs, -1))
    )


def run_block(
    block: Block, x: Any, state: State, *, pass_on: bool, witness: list[Any] | None = None
) -> tuple[Any, State]:
    """Run a block; with pass_on its spikes stay bits, for the next block alone.

    witness: a list that takes the block and what its kernel chose.
    """
    linear, choice = block.connection, block.choice
    assert choice is not None
    packing = x.packing if type(x) is Packed else None
    x = x.rows if type(x) is Packed else x
    if isinstance(x, Tensor) or x.columns != linear.in_features:
        seen = x if isinstance(x, Tensor) else x.whole
        check_features("Linear", seen, f"[T, B, {linear.in_features}]", linear.in_features, 2)
    edges = {} if linear.edges is None else {"edges": linear.edges}
    weight, bias = linear.weight, linear.bias
    if block.neuron is None:
        seen = told(block, witness)
        y = choice.function(x, weight=weight, bias=bias, **edges, witness=seen)
        return lying(y, packing), None
    feedback = None
    if block.feedback is not None:
        feedback, bias, more = fed_back(block.feedback, linear, x)
        edges |= more
    neuron, tape = block.neuron, block.neuron.tape
    ragged = {} if packing is None else {"starts": packing.first_rows}
    try:
        y, after = choice.function(
            x,
            state,
            weight=weight,
            bias=bias,
            feedback=feedback,
            **edges,
            **ragged,
            neuron=neuron.law,
            args=neuron.law_arguments(),
            lean=neuron.lean,
            pass_on=pass_on and tape is None,
            witness=told(block, witness),
        )
    except kernels.BuildError:  # the neurons alone say so, and run as they can
        if witness is not None:
            witness[-1] = (block, None)
        current = kernels.linear(x, weight=weight, bias=linear.bias, edges=linear.edges)
        current = of_inputs(current, inputs_of(neuron))
        return (block.feedback or neuron)(lying(current, packing), state)
    y = lying(y, packing)
    if tape is not None:
        tape.add_output(y)
    return y, after


def lying(rows: Any, packing: Packing | None) -> Any:
    """Rows as what they are: of sequences of different length, or as they come."""
    return rows if packing is None else Packed(rows, packing)


def fed_back(
    feedback: Recurrent, linear: Linear | Joint, x: Any
) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
    """The feedback's weight, the bias of both connections, and the edges of the feedback."""
    back = feedback.connection
    weight, edges = back.weight, back.edges
    if back.out_features != linear.out_features:
        current = linear.weight.new_zeros(()).expand(*x.shape[:2], linear.out_features)
        inputs = inputs_of(feedback.neuron)
        check_feedback(weight, of_inputs(current, inputs), edges, len(inputs))
    bias = linear.bias
    if back.bias is not None:
        bias = back.bias if bias is None else bias + back.bias
    return weight, bias, {} if edges is None else {"feedback_edges": edges}


def told(block: Block, witness: list[Any] | None) -> list[Any] | None:
    """The list in which the kernel leaves its choice beside the block, if anybody asks."""
    if witness is None:
        return None
    choices: list[Any] = []
    witness.append((block, choices))
    return choices
