"""Neurons whose spikes stay bits for the connection with delays behind them.

As numbers they would take `[T, B, N]`, and so would their gradient, which the neurons read at the
places of their surrogate's support alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad import kernels
from spikegrad.errors import UserError
from spikegrad.functional.recurrent import check_feedback
from spikegrad.nn.base import Neuron, does_as_its_class, plain
from spikegrad.nn.connection import Linear
from spikegrad.nn.delayed import DelayedLinear
from spikegrad.nn.fuse import Block
from spikegrad.nn.fuse_conv import watched
from spikegrad.nn.recurrent import Recurrent, inputs_of
from spikegrad.ragged import Packed
from spikegrad.step.lower import NotLowered
from spikegrad.types import State

__all__ = ["hands_bits", "reads_bits", "run_to_delays"]


def run_to_delays(
    layers: Sequence[nn.Module],
    x: Any,
    states: Sequence[State],
    named: Callable[[Exception], None] = lambda error: None,
) -> tuple[Tensor, list[State]] | None:
    """Neurons, fed back or not, and the `DelayedLinear` behind them: the output and both states, or
    None where the neurons return numbers.

    x: `[T, B, N]`; named: puts the name of the second layer in front of an error that it raised.

    >>> from spikegrad.nn import LIF
    >>> layers = [LIF(20.0), DelayedLinear(4, 3, 5.0, learn="interpolation")]
    >>> y, states = run_to_delays(layers, torch.rand(6, 2, 4), [None, None])
    >>> y.shape, [type(state).__name__ for state in states]
    (torch.Size([6, 2, 3]), ['LIFState', 'PendingState'])
    """
    if len(layers) < 2 or not isinstance(layers[1], DelayedLinear):
        return None
    if not isinstance(x, Tensor) or x.dim() != 3 or not x.numel():
        return None
    if x.dtype not in (torch.float32, torch.float64):  # neurons compute others in float32
        return None
    first, reader = layers[0], layers[1]
    made = alone(first, x)
    if made is None or not reads_bits(reader, made.backend, x.dtype):
        return None
    neuron, feedback = first, None
    more: dict[str, Any] = {}
    if isinstance(first, Recurrent):
        neuron, back = first.neuron, first.connection
        feedback = back.weight
        check_feedback(feedback, x, back.edges, 0)
        more = {} if back.edges is None else {"feedback_edges": back.edges}
        x = x if back.bias is None else x + back.bias
    assert isinstance(neuron, Neuron)
    try:
        spikes, after = made.function(
            x,
            states[0],
            weight=None,
            feedback=feedback,
            **more,
            neuron=neuron.law,
            args=neuron.law_arguments(),
            lean=neuron.lean,
            pass_on=True,
        )
    except (kernels.BuildError, NotLowered):  # the neurons alone say so, and run as they can
        return None
    if torch.compiler.is_compiling():  # a graph that breaks within `try` is none
        y, pending = reader(spikes, states[1])
        return y, [after, pending]
    try:
        y, pending = reader(spikes, states[1])
    except (UserError, TypeError) as error:
        named(error)
        raise
    return y, [after, pending]


def alone(layer: nn.Module, x: Tensor) -> kernels.Choice | None:
    """What runs neurons without a connection in front so that they can pass on bits."""
    back = layer.connection if isinstance(layer, Recurrent) else None
    neuron = layer.neuron if isinstance(layer, Recurrent) else layer
    kind = Neuron if back is None else Recurrent
    if not plain(layer, kind) or not isinstance(neuron, Neuron) or not plain(neuron, Neuron):
        return None
    if watched(layer):
        return None
    if back is not None and not does_as_its_class(back, Linear):
        return None
    if neuron.tape is not None or neuron.output != "spikes" or inputs_of(neuron):
        return None
    choice = kernels.choose_layer(
        x,
        None if back is None else back.weight,
        neuron.law,
        getattr(neuron, "surrogate", None),
        (neuron.backend,) if back is None else (neuron.backend, back.backend),
        feedback=back is not None,
        feedback_edges=None if back is None else back.edges,
    )
    return None if isinstance(choice, str) else choice


def hands_bits(block: Block, reader: nn.Module, x: Any) -> bool:
    """Whether neurons that run with their connection hand bits of x to the layer behind them."""
    if block.neuron is None or block.choice is None or type(x) is Packed:
        return False
    return reads_bits(reader, block.choice.backend, block.connection.weight.dtype)


def reads_bits(layer: nn.Module | None, backend: str, dtype: torch.dtype) -> bool:
    """Whether a layer is a `DelayedLinear` that a backend runs along spikes as bits."""
    if not isinstance(layer, DelayedLinear) or not plain(layer, DelayedLinear) or watched(layer):
        return False
    if type(layer).taps is not DelayedLinear.taps or not kernels.reads_delayed(backend):
        return False
    alike = layer.weight.dtype == dtype and not torch.is_autocast_enabled("cpu")
    # One delay for all synapses of an input is a shift of numbers.
    return alike and layer.per == "synapse" and layer.backend in ("auto", backend)
