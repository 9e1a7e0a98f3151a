"""One run of a `Module`: every layer's state by its name, before and after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from spikegrad.checks import check_current
from spikegrad.errors import UserError, message, unknown
from spikegrad.nn.current import Current, Source, as_numbers
from spikegrad.nn.fuse import Block, block_at, run_block
from spikegrad.nn.now import NOW
from spikegrad.nn.sequential import Sequential
from spikegrad.nn.stateful import Stateful
from spikegrad.nn.witness import Seen
from spikegrad.ragged import Packed, Packing
from spikegrad.types import State

__all__ = ["Flow"]

RETURNED = "pass the states that this network returned, or None to start from rest"


def over(layer: nn.Module, x: Any, state: State) -> Any:
    """A layer with a state over x; with the one connection that its current comes from, if the
    kernels run both in one call.
    """
    rows = x.rows if type(x) is Packed else x
    source = rows.alone() if type(rows) is Current else None
    if source is not None:
        entering = x.map(lambda _: source.x) if type(x) is Packed else source.x
        block = block_at([source.connection, layer], 0, entering)
        if isinstance(block, Block) and block.neuron is not None:
            return together(block, layer, source, entering, state)
    x = as_numbers(x)
    if NOW.witness is None or isinstance(layer, (Flowing, Sequential)):
        return layer(x, state)
    began = time.perf_counter()
    out = layer(x, state)
    NOW.witness.saw(Seen((layer,), layer, "", x, time.perf_counter() - began), out[0])
    return out


def together(block: Block, layer: nn.Module, source: Source, x: Any, state: State) -> Any:
    """A connection and its neurons in one call; x: what entered the connection."""
    source.check_unchanged()
    if NOW.witness is None:
        return run_block(block, x, state, pass_on=False)
    chosen: list[Any] = []
    began = time.perf_counter()
    out = run_block(block, x, state, pass_on=False, witness=chosen)
    took = time.perf_counter() - began
    _, how = chosen[0]
    NOW.witness.saw(Seen((source.connection, layer), block, how, source.x, took), out[0])
    return out


class Flowing(Stateful):
    """A layer whose own run keeps states: `Module`."""

    has_neurons = False


class Flow:
    """States `{name: state}` of the layers of a module, given and kept.

    names: of the module's layers; before: None for all at rest; packing: of sequences of different
    length, else None.
    """

    def __init__(
        self,
        module: nn.Module,
        names: Mapping[nn.Module, str],
        before: Mapping[str, State] | None,
        packing: Packing | None = None,
    ) -> None:
        self.module, self.names, self.before, self.packing = module, names, before, packing
        self.after: dict[str, State] = {}

    def through(self, flow: Callable[[Any], Any], x: Any) -> Any:
        """What `flow(x)` returns; layers that it calls with x alone have their states here."""
        outer, NOW.keeper = NOW.keeper, self
        try:
            return flow(x)
        finally:
            NOW.keeper = outer

    def run(self, layer: nn.Module, x: Any) -> Any:
        """The layer's output; its next state is kept."""
        name = self.name_of(layer)
        state = None if self.before is None else self.before[name]
        y, self.after[name] = over(layer, self.packed(x), state)
        return y

    def packed(self, x: Any) -> Any:
        """An input without its padding, of which an operation of torch may have made numbers."""
        packing = self.packing
        if packing is None or type(x) is Packed:
            return x
        x = as_numbers(x)
        check_current(x, floating=False)
        if x.shape[:2] != (packing.steps, packing.batch):
            expected = f"expected [T={packing.steps}, B={packing.batch}, ...] into a layer"
            remedy = "with lengths a flow must keep time and batch as they are"
            raise UserError(message(expected, str(list(x.shape)), remedy))
        return Packed.of(x, packing)

    def name_of(self, layer: nn.Module) -> str:
        """The name of a layer that may run now."""
        kind, owner = type(layer).__name__, type(self.module).__name__
        name = self.names.get(layer)
        if name is None:
            raise UserError(
                message(
                    f"expected a layer of {owner} in its flow",
                    f"{kind} that is no attribute of it",
                    f"make the layer in {owner}.__init__, as self.something",
                )
            )
        if name in self.after:
            raise UserError(
                message(
                    f"expected each layer with a state once in {owner}.flow",
                    f"{name} ({kind}) twice",
                    "make one layer for each place: its state belongs to one place",
                )
            )
        if self.before is not None and name not in self.before:
            raise UserError(
                message(
                    f"expected a state of {name} ({kind})",
                    f"states of {', '.join(self.before) or 'no layer'}",
                    RETURNED,
                )
            )
        return name

    def check_given(self) -> None:
        """States `{name: state}` of this module's layers."""
        before, owner = self.before, type(self.module).__name__
        if before is None:
            return
        if not isinstance(before, Mapping):
            expected = f"expected {owner}'s states as a dict of states by layer"
            raise TypeError(message(expected, type(before).__name__, RETURNED))
        known = {name for name in self.names.values() if name}
        for name in before:
            if name not in known:
                raise UserError(unknown(f"layer of {owner} among the states", name, sorted(known)))

    def check_run(self) -> None:
        """Every layer whose state was given has run: a branch that did not would lose its state."""
        left = [name for name in self.before or () if name not in self.after]
        if left:
            raise UserError(
                message(
                    f"expected every layer whose state is given to run in "
                    f"{type(self.module).__name__}.flow",
                    f"a state of {', '.join(left)}, which did not run",
                    "run the same branches in every chunk of a sequence",
                )
            )
