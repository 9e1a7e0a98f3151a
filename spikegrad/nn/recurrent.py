"""A neuron with a learned feedback weight. Equation: `functional.recurrent`."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from spikegrad import kernels
from spikegrad.checks import check_current
from spikegrad.errors import UserError, message
from spikegrad.functional.recurrent import check_feedback
from spikegrad.nn.base import Neuron, Stateful, does_as_its_class, has_own_forward
from spikegrad.nn.connection import Linear
from spikegrad.nn.current import reads_packed
from spikegrad.nn.delayed import DelayedLinear
from spikegrad.nn.tape import taped
from spikegrad.ragged import Packed
from spikegrad.step.sequence import check_inputs
from spikegrad.types import Backend, State

__all__ = ["Recurrent", "inputs_of", "of_inputs"]


class Recurrent(Stateful):
    """Any neuron layer, with its last spikes fed back through a connection.

    neuron: a spiking layer; its scan is called (`bound`), never its `forward`; features: N, for a
    dense weight `[N, N]` without a bias; connection: instead of features a `Linear` from N to N,
    with connectivity, a bias or a parametrized weight as it likes, or a `DelayedLinear`, whose
    delays count from the one step that feedback takes anyway; its weight is read: neither its
    `forward` nor its hooks are called. To a neuron with several inputs it goes from N to
    `inputs * N`: the currents of the first input of all neurons, then those of the next; `features`
    makes a weight `[inputs * N, N]`. State: `RecurrentState`, with delays `DelayedFeedbackState`. A
    weight starts uniform in +-1/sqrt(fan-in).
    Raises UserError where features and connection are both given, or neither, and TypeError for
    another kind of neuron or connection.

    >>> import torch
    >>> from spikegrad.nn import LIF, Linear
    >>> s, state = Recurrent(LIF(20.0), 3)(torch.ones(5, 2, 3))
    >>> s.shape, state.s.shape
    (torch.Size([5, 2, 3]), torch.Size([2, 3]))
    >>> few = Recurrent(LIF(20.0), connection=Linear(3, 3, connectivity=[[0, 1], [1, 2]]))
    >>> few(torch.ones(5, 2, 3))[0].shape
    torch.Size([5, 2, 3])
    >>> from spikegrad.neurons import SynapticLIF
    >>> Recurrent(SynapticLIF(), 3)(torch.ones(5, 2, 2, 3))[0].shape  # two inputs
    torch.Size([5, 2, 3])
    """

    def __init__(
        self,
        neuron: Neuron,
        features: int | None = None,
        *,
        connection: Linear | DelayedLinear | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(neuron, Neuron) or not hasattr(neuron, "surrogate"):
            raise TypeError(
                message("expected a spiking neuron layer", type(neuron).__name__, "e.g. LIF(20.0)")
            )
        if (features is None) == (connection is None):
            got = "neither" if features is None else "both"
            raise UserError(message("expected either features or a connection", got))
        inputs = inputs_of(neuron)
        if connection is None:
            many = size_of(features)
            connection = Linear(many, max(1, len(inputs)) * many, bias=False)
        check_feeds_back(connection, inputs)
        self.neuron, self.connection = neuron, connection

    @reads_packed
    def forward(self, x: Any, state: State = None) -> tuple[Any, State]:
        """Spikes `[T, B, N]` and the next state, from the feed-forward current x `[T, B, N]`, of a
        neuron with several inputs `[T, B, inputs, N]`.

        Raises TypeError where the neuron or the connection has a forward of its own, which nobody
        would call, and UserError where the neuron returns its membrane, or for an x of another
        shape.
        """
        check_fed_back(self.neuron)
        kind = DelayedLinear if isinstance(self.connection, DelayedLinear) else Linear
        if not does_as_its_class(self.connection, kind):
            raise TypeError(
                message(
                    "expected a connection without a forward of its own in Recurrent",
                    type(self.connection).__name__,
                    "Recurrent reads its weight: use torch.nn.utils.parametrize to change that",
                )
            )
        weight, edges, bias = self.connection.weight, self.connection.edges, self.connection.bias
        inputs = inputs_of(self.neuron)
        rows = x.rows if type(x) is Packed else x
        check_current(rows)
        check_inputs(rows, inputs)
        check_feedback(weight, rows, edges, len(inputs))
        if bias is not None:
            bias = of_inputs(bias, inputs)
            x = x.map(bias.add) if type(x) is Packed else x + bias
        if isinstance(self.connection, DelayedLinear):
            later = partial(
                kernels.delayed_recurrent,
                taps=self.connection.taps(),
                edges=edges,
                neuron=self.neuron.bound(),
                backend=self.asked,
            )
            return taped(later, self.neuron.tape, x, state)
        run = partial(
            kernels.recurrent,
            weight=weight,
            edges=edges,
            neuron=self.neuron.bound(),
            backend=self.asked,
            lean=self.neuron.lean,
        )
        return taped(run, self.neuron.tape, x, state)

    @property
    def asked(self) -> Backend:
        """The backend that was asked for: the neuron's; where that is "auto" the connection's."""
        return self.connection.backend if self.neuron.backend == "auto" else self.neuron.backend


def size_of(features: int | None) -> int:
    """A number of neurons."""
    if isinstance(features, bool) or not isinstance(features, int):
        raise TypeError(message("expected features as a whole number", repr(features)))
    if features < 1:
        raise UserError(message("expected features >= 1", str(features)))
    return features


def inputs_of(neuron: Neuron) -> tuple[str, ...]:
    """The names of a neuron's several inputs, none where it has one."""
    definition = neuron.definition()
    return () if definition is None else definition.inputs


def of_inputs(currents: Tensor, inputs: tuple[str, ...]) -> Tensor:
    """The currents `[inputs * N]` of a connection as the neurons take them, `[inputs, N]`."""
    return currents.unflatten(-1, (len(inputs), -1)) if inputs else currents


def check_fed_back(neuron: Neuron) -> None:
    """A neuron that returns its spikes, and whose scan is all that it does."""
    if has_own_forward(neuron, Neuron):
        raise TypeError(
            message(
                "expected a neuron without a forward of its own in Recurrent",
                type(neuron).__name__,
                "Recurrent calls its scan step by step: override bound() instead",
            )
        )
    if neuron.output != "spikes":
        raise UserError(
            message(
                "expected a neuron that returns its spikes in Recurrent, which feeds them back",
                f"output={neuron.output!r}",
                "omit output, and read membranes with spikegrad.record",
            )
        )


def check_feeds_back(connection: object, inputs: tuple[str, ...]) -> None:
    """A `Linear`, with delays or without, from some neurons to all inputs of as many."""
    if not isinstance(connection, (Linear, DelayedLinear)):
        expected = "expected connection as a spikegrad Linear or DelayedLinear"
        remedy = "Recurrent reads a weight; Loop feeds back through any layers"
        raise TypeError(message(expected, type(connection).__name__, remedy))
    if max(1, len(inputs)) * connection.in_features != connection.out_features:
        sizes = f"{connection.in_features} to {connection.out_features}"
        expected = "expected a connection from N to N neurons"
        if inputs:
            expected = f"expected a connection from N to {len(inputs)} N currents: "
            expected += f"{', '.join(inputs)} of N neurons"
        raise UserError(message(expected, sizes))
