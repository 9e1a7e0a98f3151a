"""Layers in a row, with a tuple of states threaded through."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from spikegrad.checks import check_current, check_finite
from spikegrad.errors import UserError, message
from spikegrad.nn.base import Stateful
from spikegrad.nn.connection import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d
from spikegrad.nn.fold import PURE, fold
from spikegrad.nn.fuse_conv import run_ahead
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.spiking import Spiking
from spikegrad.types import State

__all__ = ["OVER_TIME", "Sequential"]

OVER_TIME = (Linear, Conv2d, AvgPool2d, MaxPool2d, Flatten, BatchNorm, Spiking)
"""Stateless layers that take `[T, B, ...]` themselves."""


class Sequential(nn.Sequential):
    """`Sequential(*layers)(x, states=None) -> (y, states)`.

    x: `[T, B, *features]`; states: one per layer, None for stateless layers, None for all at rest.
    A layer of this package sees time; any other `nn.Module` sees it folded into the batch,
    `[T*B, ...]`. Two chunks, the second started from the first's states, give the same as one
    whole run. The outermost container checks once that x is finite.
    Raises UserError for a wrong number of states, NaN or infinite input.

    >>> import torch
    >>> from spikegrad.nn import LI, LIF, Linear
    >>> network = Sequential(Linear(4, 8), LIF(20.0), Linear(8, 2), LI(20.0))
    >>> y, states = network(torch.rand(5, 3, 4))
    >>> y.shape, [type(state).__name__ for state in states]
    (torch.Size([5, 3, 2]), ['NoneType', 'LIFState', 'NoneType', 'LIState'])
    """

    def forward(
        self, x: Tensor, states: Sequence[State] | None = None, *, checked: bool = False
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Run all layers over x from states; return the last output and the next states."""
        if not checked:
            check_input(self, x)
        before = self.matched(states)
        after: list[State] = []
        layers = list(self)
        while len(after) < len(layers):
            at = len(after)
            ahead = run_ahead(layers[at:], x, before[at:])
            if ahead is None:
                x, state = step(layers[at], x, before[at])
                ahead = x, [state]
            x, states_now = ahead
            after.extend(states_now)
        return x, tuple(after)

    def matched(self, states: Sequence[State] | None) -> Sequence[State]:
        """The states, one per layer."""
        if states is None:
            return [None] * len(self)
        if not isinstance(states, (tuple, list)) or hasattr(states, "_fields"):
            raise TypeError(
                message(
                    f"expected a tuple of {len(self)} states",
                    type(states).__name__,
                    "pass the states that this network returned, or None to start from rest",
                )
            )
        if len(states) != len(self):
            raise UserError(
                message(
                    f"expected {len(self)} states, one per layer",
                    str(len(states)),
                    "pass the states that this network returned, or None to start from rest",
                )
            )
        return states


def step(layer: nn.Module, x: Tensor, state: State) -> tuple[Tensor, State]:
    """One layer of a container."""
    if isinstance(layer, Sequential):
        return layer(x, state, checked=True)
    if isinstance(layer, Stateful):
        return layer(x, state)
    if state is not None:
        raise UserError(
            message(
                f"expected None as the state of the stateless {type(layer).__name__}",
                type(state).__name__,
                "pass the states in the order in which this network returned them",
            )
        )
    if isinstance(layer, OVER_TIME):
        return layer(x), None
    return fold(layer, x, pure=isinstance(layer, PURE)), None


def check_input(network: Sequential, x: Tensor) -> None:
    """The outermost container's input, `[T, B, ...]` and finite.

    Integers may reach a plain module, an embedding for example.
    """
    plain = len(network) > 0 and not isinstance(network[0], (Stateful, Sequential, *OVER_TIME))
    if not (plain and isinstance(x, Tensor) and not x.is_floating_point()):
        check_current(x)
        check_finite(x)
