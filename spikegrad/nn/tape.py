"""Recording what neurons do, without hooks: `with record(network) as tapes: network(x)`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.checks import check_not_traced
from spikegrad.errors import SpikegradWarning, UserError, message, unknown
from spikegrad.nn.current import Layer
from spikegrad.nn.stateful import Stateful
from spikegrad.ragged import Packed, in_stretch, padded
from spikegrad.types import State, Trace, Value

__all__ = [
    "Recorded",
    "Tape",
    "is_stranger",
    "listened",
    "record",
    "rows_of",
    "taped",
    "unrecorded",
]


class Tape:
    """What one neuron layer did while recorded; pieces of a chunked run are joined over time.

    membrane_wanted: whether membranes, distances and currents are kept beside the spikes; signed:
    whether spikes may be negative. The tensors are part of the autograd graph. Of sequences of
    different length they are padded with zeros, and `real` is the same without padding.
    """

    def __init__(self, *, membrane: bool = True, signed: bool = False) -> None:
        self.membrane_wanted, self.signed = membrane, signed
        self.traces: list[Trace] = []
        self.currents: list[tuple[Any, Callable[[Any], Any]]] = []  # where gradients arrive
        self.outputs: list[Any] = []
        self.in_rows = False

    def add(self, trace: Trace) -> None:
        """Keep one call's trace; the current keeps its gradient too, where it has one."""
        current = rows_of(trace.current)
        if current.requires_grad:
            current.retain_grad()
        placed = in_stretch()
        self.currents.append((trace.current, placed))
        trace = Trace(*map(placed, trace))
        self.traces.append(trace)
        self.outputs.append(trace.membrane if trace.spikes is None else trace.spikes)

    def add_output(self, y: Any) -> None:
        """Keep one call's output alone."""
        self.outputs.append(in_stretch()(y))

    def clear(self) -> None:
        """Forget everything recorded so far."""
        self.traces.clear()
        self.currents.clear()
        self.outputs.clear()

    @property
    def real(self) -> Tape:
        """The same without padding, for means over steps and samples: every tensor is
        `[1, R, *features]`, the R real steps of all samples; itself where no lengths were given.
        """
        if not any(type(y) is Packed for y in self.outputs):
            return self
        found = Tape(membrane=self.membrane_wanted, signed=self.signed)
        found.traces, found.outputs, found.in_rows = self.traces, self.outputs, True
        found.currents = self.currents
        return found

    @property
    def lengths(self) -> Tensor | None:
        """How many real steps every sample had, int64 `[B]`; None where no lengths were given."""
        if not any(type(y) is Packed for y in self.outputs):
            return None
        pieces = [
            y.packing.lengths if type(y) is Packed else torch.full((y.shape[1],), len(y))
            for y in self.outputs
        ]
        return torch.stack(pieces).sum(0)

    @property
    def spikes(self) -> Tensor:
        """The layer's output `[T, B, *features]`: spikes (of a leaky integrator, membranes)."""
        return self.joined(self.outputs)

    @property
    def activity(self) -> Tensor:
        """How many spikes there are of either sign, `[T, B, *features]`, without a gradient."""
        spikes = self.spikes.detach()
        return spikes.abs() if self.signed else spikes

    @property
    def membrane(self) -> Tensor:
        """The membrane before reset, `[T, B, *features]`."""
        return self.joined([t.membrane for t in self.traces])

    @property
    def distance(self) -> Tensor | None:
        """`u - theta`, `[T, B, *features]`; None for a layer that never spikes."""
        parts = [t.distance for t in self.traces]
        if any(p is None for p in parts):
            return None
        return self.joined([p for p in parts if p is not None])

    @property
    def current(self) -> Tensor:
        """The input current, `[T, B, *features]`."""
        return self.joined([t.current for t in self.traces])

    @property
    def current_gradient(self) -> Tensor | None:
        """The gradient of the input current after a backward pass, `[T, B, *features]`, or None."""
        parts = self.currents
        if not parts or any(rows_of(x).grad is None for x, _ in parts):
            return None
        return self.joined(
            [x.map(grad_of) if type(x) is Packed else placed(x.grad) for x, placed in parts]
        )

    def joined(self, parts: list[Any]) -> Tensor:
        """Pieces over time as one tensor."""
        if not parts:
            raise UserError(
                message(
                    "expected a recorded run", "nothing yet", "call the network inside `record`"
                )
            )
        if self.in_rows:
            rows = [p.rows if type(p) is Packed else p.flatten(0, 1).unsqueeze(0) for p in parts]
            return rows[0] if len(rows) == 1 else torch.cat(rows, 1)
        whole = [padded(p) for p in parts]
        return whole[0] if len(whole) == 1 else torch.cat(whole)


def rows_of(x: Any) -> Tensor:
    """The tensor behind an input, of packed sequences their rows."""
    rows: Tensor = x.rows if type(x) is Packed else x
    return rows


def grad_of(x: Tensor) -> Tensor | None:
    """A tensor's gradient."""
    return x.grad


class Recorded(Layer):
    """A layer that `record` can listen to. tape: where it writes, None outside of a recording."""

    def __init__(self) -> None:
        super().__init__()
        self.tape: Tape | None = None

    def resting_potential(self) -> Value:
        """The resting potential now, a number, or a tensor per neuron."""
        return 0.0


def taped(run: Callable[..., Any], tape: Tape | None, x: Any, *state: State) -> Any:
    """Call a bound scan `(x[, state], *, trace)`, writing on the tape what it asks for."""
    check_not_traced()
    if tape is None:
        return run(x, *state)
    if not tape.membrane_wanted:
        out = run(x, *state)
        y = out[0] if state else out
        tape.add_output(y[0] if type(y) is tuple else y)  # of spikes and membranes the spikes
        return out
    *results, trace = run(x, *state, trace=True)
    if type(x) is Packed:  # of the stretches of time it has copies, which no gradient reaches
        trace = trace._replace(current=x)
    tape.add(trace)
    return tuple(results) if state else results[0]


@contextmanager
def record(
    network: nn.Module,
    *,
    membrane: bool = True,
    layers: Iterable[str | nn.Module] | None = None,
) -> Iterator[dict[str, Tape]]:
    """Record every neuron of a network while the context is open, or those that are asked for.

    membrane: False keeps outputs only (rates at no cost); layers: names of neuron layers, as in
    `network.named_modules()`, or the layers themselves, None for all. Others run as without a
    recording. Yields `{layer name: Tape}`, filled as the network runs; the tapes outlive the
    context. A layer with a state that is no neuron of this package has no tape: a SpikegradWarning
    names it.
    Raises UserError for a layer that is not in the network, or that cannot be recorded.

    >>> from spikegrad import LIF, Linear, Sequential
    >>> network = Sequential(Linear(4, 3), LIF(20.0))
    >>> with record(network) as tapes:
    ...     _ = network(torch.ones(5, 2, 4))
    >>> tapes["1"].membrane.shape
    torch.Size([5, 2, 3])
    """
    if isinstance(layers, str | nn.Module):
        raise TypeError(message("expected layers as a list", type(layers).__name__))
    wanted = None if layers is None else [named(network, layer) for layer in layers]
    unseen = unrecorded(network)
    if unseen and wanted is None:
        warnings.warn(
            f"{said(network, unseen)} cannot be recorded: its spikes are not measured, because "
            "only neurons of this package can be recorded",
            SpikegradWarning,
            stacklevel=3,
        )
    with listened(network, membrane=membrane, layers=wanted) as tapes:
        yield tapes


def named(network: nn.Module, layer: str | nn.Module) -> str:
    """The name of a layer that can be recorded.

    Raises:
        UserError: there is no such layer, or it is none that can be recorded.
    """
    recorded = [name for name, m in network.named_modules() if isinstance(m, Recorded)]
    if not isinstance(layer, nn.Module):
        if layer in recorded:
            return layer
        modules = dict(network.named_modules())
        if layer not in modules:
            raise UserError(unknown("layer", layer, recorded))
        kind, name = type(modules[layer]).__name__, layer
    else:
        names = [name for name, m in network.named_modules() if m is layer]
        if names and names[0] in recorded:
            return names[0]
        kind, name = type(layer).__name__, names[0] if names else "a layer of another network"
    expected = f"expected layers that can be recorded ({', '.join(recorded) or 'there is none'})"
    raise UserError(message(expected, f"{name} ({kind})", "name the neuron layers"))


@contextmanager
def listened(
    network: nn.Module, *, membrane: bool = True, layers: list[str] | None = None
) -> Iterator[dict[str, Tape]]:
    """`record`, without its word about layers that have no tape."""
    found = {
        name: m
        for name, m in network.named_modules()
        if isinstance(m, Recorded) and (layers is None or name in layers)
    }
    before = {name: m.tape for name, m in found.items()}
    tapes = {
        name: Tape(membrane=membrane, signed=getattr(m, "spike", "binary") == "ternary")
        for name, m in found.items()
    }
    try:
        for name, m in found.items():
            m.tape = tapes[name]
        yield tapes
    finally:
        for name, m in found.items():
            m.tape = before[name]


def unrecorded(network: nn.Module) -> list[str]:
    """The names of layers with a state of neurons that no tape can listen to."""
    return [name for name, m in network.named_modules() if is_stranger(m)]


def is_stranger(module: nn.Module) -> bool:
    """A user's own layer with a state; one that holds other neurons is a container of them."""
    if isinstance(module, Recorded) or not isinstance(module, Stateful) or not module.has_neurons:
        return False
    return not any(isinstance(m, Stateful | Recorded) for m in module.modules() if m is not module)


def said(network: nn.Module, names: list[str]) -> str:
    """Layers as a sentence begins."""
    kinds = [
        f"{name or 'the network'} ({type(network.get_submodule(name)).__name__})" for name in names
    ]
    return f"layer{'s' if len(kinds) > 1 else ''} {', '.join(kinds)}"
