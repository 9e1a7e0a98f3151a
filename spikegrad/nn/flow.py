"""One run of a `Module`: every layer's state by its name, before and after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad import kernels
from spikegrad.checks import check_current
from spikegrad.errors import UserError, message, unknown
from spikegrad.nn.base import Neuron
from spikegrad.nn.current import Current
from spikegrad.nn.fold import is_static
from spikegrad.nn.fuse import Block, block_at, run_block
from spikegrad.nn.lazy import as_numbers
from spikegrad.nn.naming import name_layer
from spikegrad.nn.now import NOW
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.sequential import Sequential
from spikegrad.nn.signal import Signal, as_bits
from spikegrad.nn.sources import joint
from spikegrad.nn.stateful import Stateful
from spikegrad.nn.witness import Seen
from spikegrad.ragged import Packed, Packing
from spikegrad.types import State

__all__ = ["Flow"]

RETURNED = "pass the states that this network returned, or None to start from rest"


def over(layer: nn.Module, x: Any, state: State) -> Any:
    """A layer with a state over x; with the connections that its current comes from, if the
    kernels run all in one call. The spikes of such a call stay bits.
    """
    rows = x.rows if type(x) is Packed else x
    if type(rows) is Current and rows.waits and isinstance(layer, (Neuron, Recurrent)):
        connection, entering = read_by(rows)
        entering = x.map(lambda _: entering) if type(x) is Packed else entering
        block = "" if connection is None else block_at([connection, layer], 0, entering)
        if isinstance(block, Block) and block.neuron is not None:
            if type(entering) is Tensor and not is_static(entering):
                assert block.choice is not None
                spikes = as_bits(entering, block.choice.backend)
                entering = entering if spikes is None else spikes
            return together(block, layer, rows, entering, state)
    x = as_numbers(x)
    if NOW.witness is None or isinstance(layer, (Flowing, Sequential)):
        return layer(x, state)
    began = time.perf_counter()
    out = layer(x, state)
    NOW.witness.saw(Seen((layer,), layer, "", x, time.perf_counter() - began), out[0])
    return out


def read_by(current: Current) -> tuple[Any, Any]:
    """The connection into neurons, and what enters it; (None, None) where no one does."""
    if len(current.sources) == 1:
        source = current.sources[0]
        return source.connection, source.bits
    made = joint(current)
    if isinstance(made, str):
        current.why = made
        return None, None
    return made, made.x


def together(block: Block, layer: nn.Module, current: Current, x: Any, state: State) -> Any:
    """Connections and their neurons in one call; x: what enters them."""
    for source in current.sources:
        source.check_unchanged()
    witness = NOW.witness
    chosen: list[Any] | None = None if witness is None else []
    began = time.perf_counter()  # never under torch.compile, where nothing waits
    y, after = run_block(block, x, state, pass_on=True, witness=chosen)
    if witness is not None and chosen is not None:
        took = time.perf_counter() - began
        layers = (*(source.connection for source in current.sources), layer)
        witness.saw(Seen(layers, block, chosen[0][1], x, took), y)
    return signals(y, block), after


def signals(y: Any, block: Block) -> Any:
    """What neurons pass on, for any number of readers; numbers as they are."""
    assert block.choice is not None
    backend = block.choice.backend
    if not kernels.passes_on(y.rows if type(y) is Packed else y, backend):
        return y
    if type(y) is Packed:
        return y.map(lambda rows: Signal(rows, backend))
    return Signal(y, backend)


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
        self.given: Any = None
        self.bits: tuple[tuple[str, int], Any] | None = None

    def through(self, flow: Callable[[Any], Any], x: Any) -> Any:
        """What `flow(x)` returns; layers that it calls with x alone have their states here."""
        outer, NOW.keeper = NOW.keeper, self
        self.given = x
        try:
            return flow(x)
        finally:
            NOW.keeper = outer

    def run(self, layer: nn.Module, x: Any) -> Any:
        """The layer's output; its next state is kept."""
        name = self.name_of(layer)
        state = None if self.before is None else self.before[name]
        if torch.compiler.is_compiling():  # a graph that breaks within `try` is none
            y, self.after[name] = over(layer, self.packed(x), state)
            return y
        try:
            y, self.after[name] = over(layer, self.packed(x), state)
        except (UserError, TypeError) as error:
            self.name(error, layer)
            raise
        return y

    def name(self, error: Exception, layer: nn.Module) -> None:
        """Say in an error which layer raised it."""
        name_layer(error, self.module, layer, self.names.get(layer, ""))

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
