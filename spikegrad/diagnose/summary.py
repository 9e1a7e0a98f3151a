"""What a network is made of and what it costs: parameters, shapes, rates, operations.

Synaptic operations (SynOps) of a connection: for every input that is not 0, at every step, the
number of outputs it reaches; per sample. An input that is the same at every step (stride 0 over
time) is multiplied once and counted once. MACs: multiply-accumulates of one dense pass, which is
what the ReLU network of the same layers costs per sample; for a feedback weight, per step. Of a
sparse connection both count the synapses that there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose.probe import forward
from spikegrad.diagnose.rates import spikes_of
from spikegrad.diagnose.text import columns, number
from spikegrad.nn.base import Stateful
from spikegrad.nn.edged import edges_of
from spikegrad.nn.fold import is_static
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.sequential import OVER_TIME
from spikegrad.nn.tape import Recorded
from spikegrad.types import Edges

__all__ = ["Row", "Summary", "summary"]

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True)
class Row:
    """One layer.

    name, kind: the module's full name and class; parameters: how many numbers it learns; shape: of
    one sample's output at one step; rate: spikes per neuron and step, None where nothing spikes;
    synops: synaptic operations per sample, all steps; macs: of one dense pass; each None where the
    layer has no connection.
    """

    name: str
    kind: str
    parameters: int
    shape: tuple[int, ...] | None
    rate: float | None
    synops: float | None
    macs: int | None


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

    def line(self) -> str:
        """All of it in one line."""
        return (
            f"{self.parameters:,} parameters; {self.synops:,.0f} synaptic operations per sample in "
            f"{self.steps} steps, compared with {self.macs:,} MACs of one dense pass"
        )

    def table(self) -> str:
        """Layers and the sum, as text."""
        header = ["layer", "output", "parameters", "rate", "SynOps", "MACs"]
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
        return columns(header, [*rows, total])


def summary(network: nn.Module, x: Tensor) -> Summary:
    """Parameters, output shapes, firing rates and operations of every layer, measured on x.

    network: any module with neurons of this package, run in the mode it is in; x: `[T, B,
    *features]`. Nothing of the network changes.

    >>> from spikegrad import IF, Linear, Sequential
    >>> network = Sequential(Linear(4, 3), IF(), Linear(3, 2))
    >>> table = summary(network, torch.ones(5, 2, 4))
    >>> table.parameters, table.macs, table.rows[0].synops
    (23, 18, 60.0)
    """
    layers = list(parts(network))
    shapes: dict[str, tuple[int, ...]] = {}
    work: dict[str, float] = {}
    macs: dict[str, int] = {}
    with listening(layers, shapes, work, macs), forward(network, x) as (_, tapes):
        rates = dict(spikes_of(network, tapes))
        for name, layer in layers:
            if isinstance(layer, Recurrent):
                feedback(name, layer, rates[f"{name}.neuron" if name else "neuron"], work, macs)
        batch = x.shape[1]
        rows = tuple(
            row(name, layer, rates, shapes.get(name), work.get(name), macs.get(name), batch)
            for name, layer in layers
        )
    return Summary(rows, x.shape[0], sum(p.numel() for p in network.parameters()))


def parts(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers a reader would name: neurons and feedback as one, containers opened."""
    # What makes a weight out of another one is no layer.
    inside = [each for each in network.named_children() if each[0] != "parametrizations"]
    if isinstance(network, (Recorded, Recurrent)) or not inside:
        yield prefix, network
        return
    for name, child in inside:
        yield from parts(child, f"{prefix}.{name}" if prefix else name)


@contextmanager
def listening(
    layers: list[tuple[str, nn.Module]],
    shapes: dict[str, tuple[int, ...]],
    work: dict[str, float],
    macs: dict[str, int],
) -> Iterator[None]:
    """Hooks that note shapes and operations, taken off again at the end."""
    handles = []
    try:
        for name, layer in layers:
            handles.append(layer.register_forward_hook(partial(note, name, shapes, work, macs)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def note(
    name: str,
    shapes: dict[str, tuple[int, ...]],
    work: dict[str, float],
    macs: dict[str, int],
    layer: nn.Module,
    inputs: tuple[Any, ...],
    out: Any,
) -> None:
    """One call of one layer."""
    y = out[0] if isinstance(out, tuple) else out
    if isinstance(y, Tensor):
        over_time = isinstance(layer, (Stateful, *OVER_TIME))
        shapes[name] = tuple(y.shape[2:] if over_time else y.shape[1:])
    if isinstance(layer, (nn.Linear, Conv)) and inputs:
        seen = inputs[0].detach()
        if isinstance(layer, OVER_TIME):
            seen = seen[0] if is_static(seen) else seen.flatten(0, 1)
        work[name] = work.get(name, 0.0) + reached_by(layer, seen != 0)
        edges = edges_of(layer)
        whole = torch.Size(shapes[name]).numel()
        macs[name] = layer.weight[0].numel() * whole if edges is None else len(edges.targets)


def reached_by(layer: nn.Linear | Conv, events: Tensor) -> float:
    """Events times the outputs that each reaches; a kernel reaches fewer at borders."""
    edges = edges_of(layer)
    if edges is not None:
        return reached_along(edges, events)
    if isinstance(layer, nn.Linear):
        return float(events.sum()) * layer.out_features
    ones = torch.ones_like(layer.weight)
    return float(layer._conv_forward(events.to(ones.dtype), ones, None).sum(dtype=torch.double))


def feedback(
    name: str, layer: Recurrent, spikes: Tensor, work: dict[str, float], macs: dict[str, int]
) -> None:
    """The feedback weight sees every step's spikes but the last."""
    n, edges = layer.connection.in_features, layer.connection.edges
    seen = spikes[:-1] != 0
    work[name] = float(seen.sum()) * n if edges is None else reached_along(edges, seen)
    macs[name] = n * n if edges is None else len(edges.targets)


def reached_along(edges: Edges, events: Tensor) -> float:
    """Events `[..., inputs]` times the synapses of each."""
    counts = edges.starts.diff().double()
    return float(events.flatten(0, -2).sum(0, dtype=torch.double) @ counts)


def row(
    name: str,
    layer: nn.Module,
    spikes: dict[str, Tensor],
    shape: tuple[int, ...] | None,
    work: float | None,
    macs: int | None,
    batch: int,
) -> Row:
    """One line of the table."""
    kind = type(layer).__name__
    inner = f"{name}.neuron".lstrip(".") if isinstance(layer, Recurrent) else name or kind
    if isinstance(layer, Recurrent):
        kind = f"{kind} {type(layer.neuron).__name__}"
    return Row(
        name=name or kind,
        kind=kind,
        parameters=sum(p.numel() for p in layer.parameters()),
        shape=shape,
        rate=float(spikes[inner].float().mean()) if inner in spikes else None,
        synops=None if work is None else work / batch,
        macs=macs,
    )
