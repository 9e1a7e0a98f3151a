"""A neuron with a learned feedback weight. Equation: `functional.recurrent`."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import nn

from spikegrad import kernels
from spikegrad.errors import UserError, message
from spikegrad.nn.base import Neuron, Stateful, has_own_forward
from spikegrad.nn.current import reads_packed
from spikegrad.nn.tape import taped
from spikegrad.types import State

__all__ = ["Recurrent"]


class Recurrent(Stateful):
    """Any neuron layer, with its last spikes fed back through a weight `[N, N]`.

    neuron: a spiking layer; its scan is called (`bound`), never its `forward`; features: N. State:
    `RecurrentState`. The weight starts uniform in +-1/sqrt(N).

    >>> from spikegrad.nn import LIF
    >>> s, state = Recurrent(LIF(20.0), 3)(torch.ones(5, 2, 3))
    >>> s.shape, state.s.shape
    (torch.Size([5, 2, 3]), torch.Size([2, 3]))
    """

    def __init__(self, neuron: Neuron, features: int) -> None:
        super().__init__()
        if not isinstance(neuron, Neuron) or not hasattr(neuron, "surrogate"):
            raise TypeError(
                message("expected a spiking neuron layer", type(neuron).__name__, "e.g. LIF(20.0)")
            )
        if isinstance(features, bool) or not isinstance(features, int):
            raise TypeError(message("expected features as a whole number", repr(features)))
        if features < 1:
            raise UserError(message("expected features >= 1", str(features)))
        self.neuron = neuron
        bound = 1.0 / math.sqrt(features)
        self.weight = nn.Parameter(torch.empty(features, features).uniform_(-bound, bound))

    @reads_packed
    def forward(self, x: Any, state: State = None) -> tuple[Any, State]:
        """Spikes `[T, B, N]` and the next state, from the feed-forward current x `[T, B, N]`.

        Raises TypeError where the neuron has a forward of its own, which nobody would call, and
        UserError where it returns its membrane, or has several inputs.
        """
        if has_own_forward(self.neuron, Neuron):
            raise TypeError(
                message(
                    "expected a neuron without a forward of its own in Recurrent",
                    type(self.neuron).__name__,
                    "Recurrent calls its scan step by step: override bound() instead",
                )
            )
        if self.neuron.output != "spikes":
            raise UserError(
                message(
                    "expected a neuron that returns its spikes in Recurrent, which feeds them back",
                    f"output={self.neuron.output!r}",
                    "omit output, and read membranes with spikegrad.record",
                )
            )
        definition = self.neuron.definition()
        if definition is not None and definition.inputs:
            raise UserError(
                message(
                    "expected a neuron with one input in Recurrent, which adds the feedback to it",
                    f"{definition.name} with {', '.join(definition.inputs)}",
                    "put the spikes of the step before among the inputs yourself, step by step",
                )
            )
        run = partial(
            kernels.recurrent,
            weight=self.weight,
            neuron=self.neuron.bound(),
            backend=self.neuron.backend,
            lean=self.neuron.lean,
        )
        return taped(run, self.neuron.tape, x, state)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}"
