"""Layers in a row, with a tuple of states threaded through."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.checks import (
    check_current,
    check_finite,
    check_finite_by,
    check_finite_state,
    check_not_traced,
)
from spikegrad.errors import UserError, message
from spikegrad.kernels import Choice, packed, stilled
from spikegrad.nn.base import Neuron, Stateful, does_as_its_class, use_backend
from spikegrad.nn.chunks import steps_at_once
from spikegrad.nn.connection import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d
from spikegrad.nn.current import reads_packed
from spikegrad.nn.everywhere import AdaptiveAvgPool2d, Conv1d, ConvTranspose2d, GroupNorm
from spikegrad.nn.fold import PURE, fold
from spikegrad.nn.fuse import Block, block_at, run_block
from spikegrad.nn.fuse_conv import run_ahead
from spikegrad.nn.fuse_delays import hands_bits, run_to_delays
from spikegrad.nn.fuse_norm import NORMED, Normed, normed_at, run_normed
from spikegrad.nn.naming import name_layer
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.population import Population
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.single_step import single_step
from spikegrad.nn.spiking import Spiking
from spikegrad.nn.threaded import Threaded
from spikegrad.nn.time_step import check_dt, several_dt
from spikegrad.nn.witness import Witness
from spikegrad.ragged import Packed
from spikegrad.types import Backend, State

__all__ = ["OVER_TIME", "STREAM", "Sequential"]

STREAM = "one step of few samples without gradients"
OVER_TIME = (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    GroupNorm,
    Linear,
    MaxPool2d,
    Population,
    Spiking,
)
"""Stateless layers that take `[T, B, ...]` themselves."""


class Sequential(Threaded, nn.Sequential):
    """`Sequential(*layers)(x, states=None, lengths=None) -> (y, states)`.

    backend, lean: set for all layers, see `use_backend`; None leaves each layer's own.

    x: `[T, B, *features]`; states: one per layer, None for stateless layers, None for all at rest;
    lengths: the steps of every sample, int64 `[B]`, None for T each (see `Threaded`).
    A layer of this package sees time; any other `nn.Module` sees it folded into the batch,
    `[T*B, ...]`. Two chunks, the second started from the first's states, give the same as one
    whole run. The outermost container checks once that x is finite; where a neuron layer comes
    first, by its state after x.
    Raises UserError for a wrong number of states, NaN or infinite input.

    >>> import torch
    >>> from spikegrad.nn import LI, LIF, Linear
    >>> network = Sequential(Linear(4, 8), LIF(20.0), Linear(8, 2), LI(20.0))
    >>> y, states = network(torch.rand(5, 3, 4))
    >>> y.shape, [type(state).__name__ for state in states]
    (torch.Size([5, 3, 2]), ['NoneType', 'LIFState', 'NoneType', 'LIState'])
    """

    witness: Witness | None = None
    """Where `explain` has a run write what it chose, else None."""

    def __init__(
        self, *layers: Any, backend: Backend | None = None, lean: bool | None = None
    ) -> None:
        super().__init__(*layers)
        if backend is not None or lean is not None:
            use_backend(self, backend, lean=lean)
        found = set(several_dt(self))
        if not any(
            isinstance(child, Sequential) and found == set(several_dt(child)) for child in self
        ):
            check_dt(self)  # else that child has said it

    @reads_packed
    def forward(
        self, x: Any, states: Sequence[State] | None = None, checked: bool = False
    ) -> tuple[Any, tuple[State, ...]]:
        """Run all layers over x from states; return the last output and the next states."""
        check_not_traced()
        before = self.matched(states)
        layers = list(self._modules.values())
        if not checked and type(x) is Tensor and not torch.is_grad_enabled():
            step_alone = single_step(layers, x, before) if len(layers) > 0 else None
            if step_alone is not None:
                self.note([(layer, STREAM) for layer in layers])
                return step_alone
        few = steps_at_once(layers, x) if self.witness is None and isinstance(x, Tensor) else None
        if few is not None and few < x.shape[0]:
            return self.by_chunks(x, before, few, checked)
        after: list[State] = []
        block, given = None, None
        if not checked and states is not None:
            check_finite_state(tuple(before), "states")
        if not checked and layers and is_neuron(layers[0]):
            given = rows_of(x)
            check_current(given)
        elif not checked:
            x, block = admitted(layers, x)
        while len(after) < len(layers):
            run = (
                self.advance if self.witness is None else partial(self.witness.watch, self.advance)
            )
            x, states_now, block = run(layers, len(after), x, before, block)
            after.extend(states_now)
            if type(x) is tuple and len(after) < len(layers):
                raise UserError(
                    message(
                        "expected output='both' in the last layer alone",
                        f"layer {len(after) - 1} of {len(layers)}",
                        "read membranes of other layers with spikegrad.record",
                    )
                )
            if given is not None:
                check_finite_by(states_now[0], given)
                given = None
        return x, tuple(after)

    def by_chunks(
        self, x: Tensor, states: Sequence[State], steps: int, checked: bool
    ) -> tuple[Tensor, tuple[State, ...]]:
        """The same, so many steps at a time."""
        if not checked:
            check_finite_state(tuple(states), "states")
            check_input(list(self._modules.values()), x)
        parts = []
        for first in range(0, x.shape[0], steps):
            part, states = self.forward(x[first : first + steps], states, True)
            parts.append(part)
        return torch.cat(parts), tuple(states)

    def advance(
        self,
        layers: list[nn.Module],
        at: int,
        x: Any,
        before: Sequence[State],
        known: Block | None,
    ) -> tuple[Any, list[State], Block | None]:
        """Run what starts at a position, one layer or several as one: output and their states.

        known: the block that starts here, if that was found out before. The last of what is
        returned is the block that takes the output, if any is known.
        """
        if torch.compiler.is_compiling():  # a graph that breaks within `try` is none
            return self.run_from(layers, at, x, before, known, [at])
        last = [at]
        try:
            return self.run_from(layers, at, x, before, known, last)
        except (UserError, TypeError) as error:
            end = last[0] if last[0] >= 0 else first_neurons(layers, at)
            self.name(error, at, end)
            raise

    def run_from(
        self,
        layers: list[nn.Module],
        at: int,
        x: Any,
        before: Sequence[State],
        known: Block | None,
        last: list[int],
    ) -> tuple[Any, list[State], Block | None]:
        """The same; last: takes the last of the layers that run, -1 for the next neurons."""
        if known is None:
            last[0] = -1  # neurons end such a run
            if (ran := run_ahead(layers[at:], x, before[at:])) is not None:
                y, after = ran
                together = layers[at : at + len(after)]
                self.note([(layer, "one call with its neighbours") for layer in together])
                return y, after, None
            last[0] = at
            two = (layers[at : at + 2], x, before[at : at + 2])
            if self.witness is None and (
                (ran := run_to_delays(*two, lambda error: self.name(error, at + 1, at + 1)))
                is not None
            ):
                return *ran, None
            if (found := normed_at(layers[at:], x, before[at:])) is not None:
                last[0] = at + found.width - 1
                return self.advance_normed(layers, at, x, before, found)
        block = known or block_at(layers, at, x)
        if isinstance(block, str):
            self.note([(layers[at], block)])
            x, state = step(layers[at], x, before[at])
            return x, [state], None
        end = at + block.width
        last[0] = end - 1
        for layer, given in zip(layers[at : end - 1], before[at:], strict=False):
            check_stateless(layer, given)
        reader = reader_of(layers, end, x, block.choice)
        passes_on = reader is not None or (
            self.witness is None and end < len(layers) and hands_bits(block, layers[end], x)
        )
        y, state = run_block(block, x, before[end - 1], pass_on=passes_on, witness=self.witness)
        # Numbers, from a recorded layer for example, are looked at again.
        read = isinstance(rows_of(y), Tensor)
        return y, [*[None] * (block.width - 1), state], None if read else reader

    def advance_normed(
        self, layers: list[nn.Module], at: int, x: Tensor, before: Sequence[State], found: Normed
    ) -> tuple[Any, list[State], Block | None]:
        """The same where a batch norm is computed by the neurons behind it."""
        end = at + found.width
        reader = reader_of(layers, end, x, found.choice)
        y, after = run_normed(found, x, before[at:], pass_on=reader is not None)
        self.note([(layer, NORMED) for layer in layers[at:end]])
        return y, after, None if isinstance(y, Tensor) else reader

    def name(self, error: Exception, first: int, last: int) -> None:
        """Say in an error which layers raised it."""
        ran = list(self._modules.items())[first : last + 1]
        names = "-".join(dict.fromkeys((ran[0][0], ran[-1][0])))
        kinds = ", ".join(type(layer).__name__ for _, layer in ran)
        assert ran[0][1] is not None
        name_layer(error, self, ran[0][1], names, kinds)

    def note(self, what: list[Any]) -> None:
        """Tell the witness, if there is one."""
        if self.witness is not None:
            self.witness.extend(what)

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


def step(layer: nn.Module, x: Any, state: State) -> tuple[Any, State]:
    """One layer of a container."""
    if isinstance(layer, Sequential):
        return layer(x, state, checked=True)
    if isinstance(layer, Stateful):
        return layer(x, state)
    check_stateless(layer, state)
    if isinstance(layer, OVER_TIME):
        return layer(x), None
    pure = isinstance(layer, PURE)
    if type(x) is Packed:
        return x.map(lambda rows: fold(layer, rows, pure=pure)), None
    return fold(layer, x, pure=pure), None


def first_neurons(layers: Sequence[nn.Module], at: int) -> int:
    """The first layer with a state from a position on, the position itself where there is none."""
    return next((k for k in range(at, len(layers)) if isinstance(layers[k], Stateful)), at)


def rows_of(x: Any) -> Any:
    """An input as a tensor with a time and a batch: packed sequences as their rows."""
    return x.rows if type(x) is Packed else x


def reader_of(layers: Sequence[nn.Module], at: int, x: Any, choice: Choice | None) -> Block | None:
    """The block at a position, if what runs the layers before it runs it too: what its layers pass
    on, only it can read. x: the input of the layers before.
    """
    following = block_at(layers, at, x, ahead=True) if at < len(layers) else ""
    if isinstance(following, str):
        return None
    assert choice is not None
    assert following.choice is not None
    return following if following.choice.backend == choice.backend else None


def is_neuron(layer: nn.Module) -> bool:
    """A neuron layer whose state says what its input was: one of this package."""
    kind = Recurrent if isinstance(layer, Recurrent) else Neuron
    if not does_as_its_class(layer, kind):
        return False
    return isinstance(layer, Recurrent) or isinstance(layer.law, str)


def check_stateless(layer: nn.Module, state: State) -> None:
    """No state for a layer that has none."""
    if state is not None:
        raise UserError(
            message(
                f"expected None as the state of the stateless {type(layer).__name__}",
                type(state).__name__,
                "pass the states in the order in which this network returned them",
            )
        )


def admitted(layers: list[nn.Module], x: Tensor) -> tuple[Any, Block | None]:
    """The outermost container's input once it is known to be right and finite, and its block.

    Spikes for a first block are packed at once: zeros and ones are finite. An input that repeats
    one step is seen as that step, whose product is computed once.
    """
    there = len(layers) > 0 and x is not None  # None stands for an input like most in a choice
    block = block_at(layers, 0, x) if there else ""
    if not isinstance(block, Block):
        check_input(layers, rows_of(x))
        return x, None
    assert block.choice is not None
    spikes = packed(x, block.choice.backend)
    if spikes is not None:
        return Packed(spikes, x.packing) if type(x) is Packed else spikes, block
    rows = rows_of(x)
    given = stilled(rows, block.choice.backend)
    check_input(layers, given)
    return x if given is rows else given, block if given is rows else None


def check_input(layers: list[nn.Module], x: Tensor) -> None:
    """The outermost container's input, `[T, B, ...]` and finite.

    Integers may reach a plain module, an embedding for example.
    """
    plain = len(layers) > 0 and not isinstance(layers[0], (Stateful, Sequential, *OVER_TIME))
    if not (plain and isinstance(x, Tensor) and not x.is_floating_point()):
        check_current(x)
        check_finite(x)
