"""What a network is made of and what it costs: parameters, shapes, rates, operations.

Synaptic operations (SynOps) of a connection: for every input that is not 0, at every step, the
number of outputs it reaches; per sample. An input that is the same at every step (stride 0 over
time) is multiplied once and counted once. MACs: multiply-accumulates of one dense pass, which is
what the ReLU network of the same layers costs per sample; for a feedback weight, per step. Of a
sparse connection both count the synapses that there are.

Energy is that of the arithmetic alone, in 32-bit floating point at 45 nm: 0.9 pJ for an addition,
4.6 pJ for a multiplication and an addition (Horowitz 2014, ISSCC, "Computing's energy problem").
Memory and control cost more than that on most hardware: it compares networks, not machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose.printed import html_lines, html_table
from spikegrad.diagnose.probe import forward
from spikegrad.diagnose.rates import rate_of, spiking_tapes
from spikegrad.diagnose.text import columns, number
from spikegrad.nn.base import Stateful
from spikegrad.nn.edged import edges_of
from spikegrad.nn.fold import is_static
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.sequential import OVER_TIME
from spikegrad.nn.tape import Recorded, Tape
from spikegrad.ragged import Events, Packed, as_frame, mask_of
from spikegrad.types import Edges

__all__ = ["ADDITION", "MULTIPLICATION", "Row", "Summary", "summary"]

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
ADDITION = 0.9e-12
"""Joules of a 32-bit floating-point addition at 45 nm."""
MULTIPLICATION = 4.6e-12
"""Joules of a multiplication and an addition of the same kind."""


HEADER = ("layer", "output", "parameters", "rate", "SynOps", "MACs")


@dataclass(frozen=True)
class Row:
    """One layer.

    name, kind: the module's full name and class; parameters: how many numbers it learns; shape: of
    one sample's output at one step; rate: spikes per neuron and step, None where nothing spikes;
    synops: synaptic operations per sample, all steps; macs: of one dense pass; events: whether
    every input was a spike (1 or -1) or 0, so that operations are additions; each None where the
    layer has no connection.
    """

    name: str
    kind: str
    parameters: int
    shape: tuple[int, ...] | None
    rate: float | None
    synops: float | None
    macs: int | None
    events: bool | None = None

    @property
    def energy(self) -> float | None:
        """Joules of the synaptic operations of a sample; None where there is no connection."""
        if self.synops is None:
            return None
        return self.synops * (ADDITION if self.events else MULTIPLICATION)

    @property
    def dense_energy(self) -> float | None:
        """Joules of one dense pass of a sample; None where there is no connection."""
        return None if self.macs is None else self.macs * MULTIPLICATION

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        shape = None if self.shape is None else list(self.shape)
        own = {**vars(self), "shape": shape}
        return {**own, "energy": self.energy, "dense_energy": self.dense_energy}


@dataclass(frozen=True)
class Summary:
    """All layers; steps: T of the input; parameters: of the whole network, each counted once."""

    rows: tuple[Row, ...]
    steps: int
    parameters: int

    @property
    def synops(self) -> float:
        """Synaptic operations per sample, all layers and steps."""
        return sum(row.synops or 0.0 for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one dense pass of the same layers."""
        return sum(row.macs or 0 for row in self.rows)

    @property
    def energy(self) -> float:
        """Joules of the synaptic operations of a sample, all layers and steps."""
        return sum(row.energy or 0.0 for row in self.rows)

    @property
    def dense_energy(self) -> float:
        """Joules of one dense pass of the same layers."""
        return self.macs * MULTIPLICATION

    def line(self) -> str:
        """All of it in one line."""
        return (
            f"{self.parameters:,} parameters; {self.synops:,.0f} synaptic operations per sample in "
            f"{self.steps} steps, compared with {self.macs:,} MACs of one dense pass"
        )

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        return {
            "rows": [row.data() for row in self.rows],
            "steps": self.steps,
            "parameters": self.parameters,
            "synops": self.synops,
            "macs": self.macs,
            "energy": self.energy,
            "dense_energy": self.dense_energy,
        }

    def table(self) -> str:
        """Layers and the sum, as text."""
        return columns(HEADER, self.cells())

    __str__ = table

    def _repr_html_(self) -> str:
        return html_table(HEADER, self.cells()) + html_lines(self.line())

    def cells(self) -> list[list[str]]:
        """The rows of the table."""
        rows = [
            [
                f"{row.name} ({row.kind})",
                "-" if row.shape is None else "x".join(map(str, row.shape)) or "1",
                f"{row.parameters:,}",
                number(row.rate),
                "-" if row.synops is None else f"{row.synops:,.0f}",
                "-" if row.macs is None else f"{row.macs:,}",
            ]
            for row in self.rows
        ]
        total = ["all", "", f"{self.parameters:,}", "", f"{self.synops:,.0f}", f"{self.macs:,}"]
        return [*rows, total]


def summary(network: nn.Module, x: Tensor | Events, *, lengths: Any = None) -> Summary:
    """Parameters, output shapes, firing rates and operations of every layer, measured on x.

    network: any module with neurons of this package, run in the mode it is in; x: `[T, B,
    *features]`, or `Events`; lengths: the steps of every sample, int64 `[B]`, None for T each.
    Nothing of the network changes.

    >>> from spikegrad import IF, Linear, Sequential
    >>> network = Sequential(Linear(4, 3), IF(), Linear(3, 2))
    >>> table = summary(network, torch.ones(5, 2, 4))
    >>> table.parameters, table.macs, table.rows[0].synops
    (23, 18, 60.0)
    """
    x, lengths = as_frame(network, x, lengths)
    layers, notes = list(parts(network)), Notes()
    with listening(layers, notes), forward(network, x, lengths=lengths) as (_, tapes):
        rates = dict(spiking_tapes(network, tapes))
        for name, layer in layers:
            if isinstance(layer, Recurrent):
                feedback(name, layer, rates[f"{name}.neuron" if name else "neuron"], notes)
        rows = tuple(row(name, layer, rates, notes, x.shape[1]) for name, layer in layers)
    return Summary(rows, x.shape[0], sum(p.numel() for p in network.parameters()))


def parts(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers a reader would name: neurons and feedback as one, containers opened."""
    # What makes a weight out of another one is no layer.
    inside = [each for each in network.named_children() if each[0] != "parametrizations"]
    if isinstance(network, (Recorded, Recurrent, nn.Linear)) or not inside:
        yield prefix, network
        return
    for name, child in inside:
        yield from parts(child, f"{prefix}.{name}" if prefix else name)


@dataclass
class Notes:
    """What the calls of the layers were, by name: shapes, operations of the batch, multiplications
    of a dense pass, and whether all inputs were spikes.
    """

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)
    events: dict[str, bool] = field(default_factory=dict)


@contextmanager
def listening(layers: list[tuple[str, nn.Module]], notes: Notes) -> Iterator[None]:
    """Hooks that note shapes and operations, taken off again at the end."""
    handles = []
    try:
        for name, layer in layers:
            handles.append(layer.register_forward_hook(partial(note, name, notes)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def note(name: str, notes: Notes, layer: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
    """One call of one layer."""
    y = out[0] if isinstance(out, tuple) else out
    if isinstance(y, (Tensor, Packed)):
        over_time = isinstance(layer, (Stateful, *OVER_TIME))
        notes.shapes[name] = tuple(y.shape[2:] if over_time else y.shape[1:])
    if isinstance(layer, (nn.Linear, Conv)) and inputs:
        seen = inputs[0].detach()
        if isinstance(layer, OVER_TIME):
            seen = seen[0] if is_static(seen) else seen.flatten(0, 1)
        notes.work[name] = notes.work.get(name, 0.0) + reached_by(layer, seen != 0)
        spikes = bool(((seen == 0) | (seen.abs() == 1)).all())
        notes.events[name] = notes.events.get(name, True) and spikes
        edges = edges_of(layer)
        whole = torch.Size(notes.shapes[name]).numel()
        notes.macs[name] = layer.weight[0].numel() * whole if edges is None else len(edges.targets)


def reached_by(layer: nn.Linear | Conv, events: Tensor) -> float:
    """Events times the outputs that each reaches; a kernel reaches fewer at borders."""
    edges = edges_of(layer)
    if edges is not None:
        return reached_along(edges, events)
    if isinstance(layer, nn.Linear):
        return float(events.sum()) * layer.out_features
    ones = torch.ones_like(layer.weight)
    return float(layer._conv_forward(events.to(ones.dtype), ones, None).sum(dtype=torch.double))


def feedback(name: str, layer: Recurrent, tape: Tape, notes: Notes) -> None:
    """The feedback weight sees every step's spikes but the last."""
    connection = layer.connection
    n, edges = connection.out_features, connection.edges
    seen = tape.activity[:-1] != 0
    if tape.lengths is not None:
        seen = seen & mask_of((tape.lengths - 1).to(seen.device), len(seen)).unsqueeze(2)
    notes.work[name] = float(seen.sum()) * n if edges is None else reached_along(edges, seen)
    notes.events[name] = getattr(layer.neuron, "spike", "binary") != "multiple"
    notes.macs[name] = n * connection.in_features if edges is None else len(edges.targets)


def reached_along(edges: Edges, events: Tensor) -> float:
    """Events `[..., inputs]` times the synapses of each."""
    counts = edges.starts.diff().double()
    return float(events.flatten(0, -2).sum(0, dtype=torch.double) @ counts)


def row(name: str, layer: nn.Module, tapes: dict[str, Tape], notes: Notes, batch: int) -> Row:
    """One line of the table."""
    kind = type(layer).__name__
    inner = f"{name}.neuron".lstrip(".") if isinstance(layer, Recurrent) else name or kind
    if isinstance(layer, Recurrent):
        kind = f"{kind} {type(layer.neuron).__name__}"
    work = notes.work.get(name)
    return Row(
        name=name or kind,
        kind=kind,
        parameters=sum(p.numel() for p in layer.parameters()),
        shape=notes.shapes.get(name),
        rate=rate_of(tapes[inner]) if inner in tapes else None,
        synops=None if work is None else work / batch,
        macs=notes.macs.get(name),
        events=notes.events.get(name),
    )
