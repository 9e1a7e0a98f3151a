"""Which synapses a connection has: from a density, a fan-in, a mask, edges or a SciPy matrix.

Random synapses are drawn in time and memory proportional to their number: with a density each of
the inputs x outputs places has one with that probability (the gaps between them are geometric),
with a fan-in each neuron has so many different inputs, every set of them equally likely.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.types import Edges

__all__ = ["Synapses", "check_edges", "connect", "edges_of"]

CHUNK = 1 << 22
"""Synapses that are drawn, or sorted, at a time."""
KINDS = (
    "a density (float in (0, 1]), a fan-in (int), a mask (bool [out, in]), edges (int [E, 2], rows "
    "of from and to), a SciPy sparse matrix [out, in], or the edges of another layer"
)


class Synapses(NamedTuple):
    """What `connect` found; values: the weights `[E]` that a SciPy matrix holds, else None."""

    edges: Edges
    values: Tensor | None = None


def connect(
    connectivity: Any, inputs: int, outputs: int, generator: torch.Generator | None = None
) -> Synapses:
    """The synapses of a connection from `inputs` to `outputs` neurons.

    connectivity: see `nn.Linear`; generator: for those that are drawn.
    Raises TypeError for anything else, and UserError where there is no synapse, for one that is
    named twice, or one that is out of range.

    >>> connect([[0, 1], [2, 0], [2, 1]], 3, 2).edges.starts.tolist()
    [0, 1, 1, 3]
    """
    if isinstance(connectivity, Edges):
        check_edges(connectivity, inputs, outputs)
        return Synapses(connectivity)
    if hasattr(connectivity, "tocoo"):
        return of_matrix(connectivity.tocoo(), inputs, outputs)
    if isinstance(connectivity, (bool, str)) or connectivity is None:
        raise TypeError(message(f"expected connectivity as {KINDS}", repr(connectivity)))
    if isinstance(connectivity, float):
        return Synapses(of_density(connectivity, inputs, outputs, generator))
    if isinstance(connectivity, int):
        return Synapses(of_fan_in(connectivity, inputs, outputs, generator))
    given = tensor_of(connectivity)
    if given.dtype == torch.bool:
        return Synapses(of_mask(given, inputs, outputs))
    if given.dim() != 2 or given.shape[1] != 2:
        expected = "expected edges [E, 2] as connectivity, rows of from and to"
        remedy = "transpose it" if given.dim() == 2 and given.shape[0] == 2 else ""
        raise UserError(message(expected, str(list(given.shape)), remedy))
    return Synapses(edges_of(given[:, 0].long(), given[:, 1].long(), inputs, outputs)[0])


def tensor_of(connectivity: Any) -> Tensor:
    """A mask or edges as a tensor of booleans or whole numbers."""
    if isinstance(connectivity, (list, tuple)):
        connectivity = np.asarray(connectivity) if len(connectivity) else np.empty((0, 2), int)
    if isinstance(connectivity, np.ndarray) and connectivity.dtype.kind in "biu":
        connectivity = torch.from_numpy(np.ascontiguousarray(connectivity).astype(
            bool if connectivity.dtype.kind == "b" else np.int64
        ))  # fmt: skip
    if not isinstance(connectivity, Tensor):
        kind = getattr(connectivity, "dtype", type(connectivity).__name__)
        raise TypeError(message(f"expected connectivity as {KINDS}", str(kind)))
    whole = connectivity.dtype in (torch.int32, torch.int64, torch.int16, torch.uint8, torch.int8)
    if connectivity.dtype != torch.bool and not whole:
        remedy = "a mask is connectivity != 0, edges are connectivity.long()"
        expected = "expected connectivity as a tensor of bool (a mask) or whole numbers (edges)"
        raise TypeError(message(expected, str(connectivity.dtype), remedy))
    return connectivity.detach().cpu()


def of_matrix(matrix: Any, inputs: int, outputs: int) -> Synapses:
    """The entries of a SciPy matrix in coordinates, also those that are 0."""
    if matrix.shape != (outputs, inputs):
        expected = f"expected a matrix [out, in] = [{outputs}, {inputs}] as connectivity"
        raise UserError(message(expected, str(list(matrix.shape)), "matrix.T turns it around"))
    if matrix.data.dtype.kind not in "biuf":
        expected = "expected a matrix of numbers as connectivity"
        raise TypeError(message(expected, str(matrix.data.dtype)))
    to, sender = (torch.from_numpy(np.asarray(part, np.int64)) for part in (matrix.row, matrix.col))
    edges, order = edges_of(sender, to, inputs, outputs)
    if matrix.data.dtype.kind == "b":
        return Synapses(edges)
    values = torch.from_numpy(np.ascontiguousarray(matrix.data)).double()
    if not bool(torch.isfinite(values).all()):
        raise UserError(message("expected finite values in connectivity", "NaN or infinity"))
    return Synapses(edges, values[order])


def of_mask(mask: Tensor, inputs: int, outputs: int) -> Edges:
    """Where a mask is True."""
    if mask.shape != (outputs, inputs):
        expected = f"expected a mask [out, in] = [{outputs}, {inputs}] as connectivity"
        raise UserError(message(expected, str(list(mask.shape))))
    places = mask.t().nonzero()
    check_some(len(places), "a mask without True")
    counts = mask.sum(0, dtype=torch.int64)
    return Edges(starts_of(counts), places[:, 1].int(), outputs)


def of_density(
    density: float, inputs: int, outputs: int, generator: torch.Generator | None
) -> Edges:
    """Each place with the same probability."""
    if not 0.0 < density <= 1.0:
        expected = "expected connectivity as a density in (0, 1]"
        raise UserError(message(expected, repr(density), "a whole number is a fan-in"))
    total, last, parts = inputs * outputs, -1, []
    counts = torch.zeros(inputs, dtype=torch.int64)
    while last < total:
        many = min(CHUNK, int(1.01 * density * (total - last - 1)) + 64)
        drawn = torch.rand(many, dtype=torch.float64, generator=generator)
        if density < 1.0:
            drawn = (-drawn).log1p_().div_(math.log1p(-density)).clamp_(0.0, float(total))
        else:
            drawn.zero_()
        place = drawn.long().add_(1).cumsum_(0).add_(last)
        last = int(place[-1])
        place = place[place < total]
        counts += torch.bincount(place // outputs, minlength=inputs)
        parts.append((place % outputs).int())
    check_some(int(counts.sum()), f"a density of {density:g} of {inputs} x {outputs} by chance")
    return Edges(starts_of(counts), torch.cat(parts), outputs)


def of_fan_in(fan_in: int, inputs: int, outputs: int, generator: torch.Generator | None) -> Edges:
    """Each neuron with so many different inputs."""
    if not 1 <= fan_in <= inputs:
        expected = f"expected connectivity as a fan-in from 1 to {inputs}, the number of inputs"
        raise UserError(message(expected, repr(fan_in), "a float is a density"))
    rows = max(1, CHUNK // fan_in)
    chosen = torch.empty(outputs, fan_in, dtype=torch.int32)
    for first in range(0, outputs, rows):
        part = chosen[first : first + rows]
        part.copy_(subsets(part.shape[0], fan_in, inputs, generator))
    return by_source(chosen, inputs)


def subsets(rows: int, size: int, among: int, generator: torch.Generator | None) -> Tensor:
    """`[rows, size]`: so many different numbers below `among`, rising; all sets equally likely.

    Numbers that came before are drawn again: which sets come out does not depend on the names of
    the numbers, so none is preferred. Of more than half the rest is drawn, and left out.
    """
    if 2 * size > among:
        left = torch.ones(rows, among, dtype=torch.bool)
        if size < among:
            left.scatter_(1, subsets(rows, among - size, among, generator), False)
        return left.nonzero()[:, 1].view(rows, size)
    drawn = torch.randint(among, (rows, size), generator=generator).sort(1).values
    while True:
        again = torch.zeros_like(drawn, dtype=torch.bool)
        again[:, 1:] = drawn[:, 1:] == drawn[:, :-1]
        many = int(again.sum())
        if not many:
            return drawn
        drawn[again] = torch.randint(among, (many,), generator=generator)
        drawn = drawn.sort(1).values


def by_source(chosen: Tensor, inputs: int) -> Edges:
    """Edges from the inputs `[outputs, fan-in]` of every neuron: a counting sort, part by part."""
    outputs, fan_in = chosen.shape
    rows = max(1, CHUNK // fan_in)
    parts = [(first, chosen[first : first + rows]) for first in range(0, outputs, rows)]
    counts = torch.zeros(inputs, dtype=torch.int64)
    for _, part in parts:
        counts += torch.bincount(part.flatten(), minlength=inputs)
    starts = starts_of(counts)
    targets, ends = torch.empty(outputs * fan_in, dtype=torch.int32), starts[:-1].clone()
    for first, part in parts:
        senders, order = part.flatten().sort(stable=True)
        here = torch.bincount(senders, minlength=inputs)
        rank = torch.arange(len(order)) - (here.cumsum(0) - here)[senders]
        targets[ends[senders] + rank] = (order // fan_in + first).int()
        ends += here
    return Edges(starts, targets, outputs)


def edges_of(sender: Tensor, to: Tensor, inputs: int, outputs: int) -> tuple[Edges, Tensor]:
    """Edges from pairs in any order, and where each of them stood."""
    check_some(len(sender), "no edge")
    for name, part, size in (("from", sender, inputs), ("to", to, outputs)):
        if int(part.min()) < 0 or int(part.max()) >= size:
            wrong = int(part.min()) if int(part.min()) < 0 else int(part.max())
            expected = f"expected edges in connectivity {name} 0 to {size - 1}"
            raise UserError(message(expected, str(wrong), "rows of edges are (from, to)"))
    key, order = (sender * outputs + to).sort()
    twice = (key[1:] == key[:-1]).nonzero()
    if len(twice):
        pair = (int(key[twice[0]]) // outputs, int(key[twice[0]]) % outputs)
        expected = "expected each synapse once in connectivity"
        raise UserError(message(expected, f"{pair[0]} to {pair[1]} twice", "add up their weights"))
    counts = torch.bincount(sender, minlength=inputs)
    return Edges(starts_of(counts), (key % outputs).int(), outputs), order


def starts_of(counts: Tensor) -> Tensor:
    """Where the synapses of every input begin, from their numbers."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def check_some(count: int, got: str) -> None:
    """A connection with a synapse."""
    if count == 0:
        expected = "expected connectivity with one synapse at least"
        raise UserError(message(expected, got, "leave out a connection that has none"))


def check_edges(edges: Edges, inputs: int, outputs: int) -> None:
    """Edges of so many neurons that are as `Edges` says."""
    starts, targets = edges.starts, edges.targets
    if edges.outputs != outputs or edges.starts.shape != (inputs + 1,):
        expected = f"expected connectivity from {inputs} to {outputs} neurons"
        raise UserError(message(expected, f"from {edges.inputs} to {edges.outputs}"))
    if starts.dtype != torch.int64 or targets.dtype != torch.int32 or targets.dim() != 1:
        expected = "expected connectivity with starts int64 [in + 1] and targets int32 [E]"
        raise TypeError(message(expected, f"{starts.dtype}, {targets.dtype} {list(targets.shape)}"))
    many = len(targets)
    check_some(many, "edges without one")
    counts = starts.diff()
    whole = int(starts[0]) == 0 and int(starts[-1]) == many and bool((counts >= 0).all())
    if not whole or int(targets.min()) < 0 or int(targets.max()) >= outputs:
        expected = "expected connectivity whose starts rise from 0 to E and targets are in range"
        raise UserError(message(expected, "others", "make it with nn.Linear"))
    rising = targets[1:] > targets[:-1]
    first = starts[1:-1][(starts[1:-1] > 0) & (starts[1:-1] < many)] - 1
    rising[first] = True
    if not bool(rising.all()):
        expected = "expected connectivity whose targets rise within each input"
        raise UserError(message(expected, "others, or one twice", "make it with nn.Linear"))
