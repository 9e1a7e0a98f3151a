"""Several connections into the same neurons as one: their signals side by side.

A sum of products is one product of a longer input with a wider weight, `W x + V y = [W V] [x y]`,
and of the same input one product with the sum of the weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.weak import WeakTensorKeyDictionary

from spikegrad import kernels
from spikegrad.nn.connection import Linear
from spikegrad.nn.current import Current
from spikegrad.nn.fold import is_static
from spikegrad.nn.signal import Signal, as_bits
from spikegrad.types import Edges

__all__ = ["Joint", "joint"]

_TOGETHER = WeakTensorKeyDictionary()
"""By the first connection's targets: versions, the other parts, and the edges made of them."""


class Joint(NamedTuple):
    """What `fuse` reads of a `Linear`, of several connections together; x: what enters it."""

    weight: Tensor
    bias: Tensor | None
    edges: Edges | None
    backend: str
    in_features: int
    out_features: int
    x: Any


def joint(current: Current) -> Joint | str:
    """The connections of a sum as one, or why they are not."""
    sources = current.sources
    layers = [source.connection for source in sources if isinstance(source.connection, Linear)]
    sparse = {layer.edges is not None for layer in layers}
    if len(layers) < len(sources) or len(sparse) > 1:
        return "some have all synapses, some have not"
    asked = {layer.backend for layer in layers} - {"auto"}
    if len(asked) > 1:
        return f"they ask for several backends, {', '.join(sorted(asked))}"
    backend = asked.pop() if asked else "auto"
    if backend == "reference":
        return "the reference was chosen by name"
    signals = [source.x for source in sources]
    made = of_synapses(signals, layers) if sparse.pop() else of_weights(signals, layers)
    if isinstance(made, str):
        return made
    x, weight, edges, many = made
    biases = [layer.bias for layer in layers if layer.bias is not None]
    bias = sum(biases[1:], biases[0]) if biases else None
    return Joint(weight, bias, edges, backend, many, layers[0].out_features, x)


Made = tuple[Any, Tensor, Edges | None, int]
"""What enters, the weight and the edges for it, and how many columns that has."""


def of_weights(signals: list[Any], layers: list[Linear]) -> Made | str:
    """Dense connections; those of one signal have one weight."""
    read: dict[int, tuple[Any, Tensor]] = {}
    for x, layer in zip(signals, layers, strict=True):
        known = read.get(id(x))
        weight = layer.weight
        read[id(x)] = (x, weight if known is None else known[1] + weight)
    entering = beside([x for x, _ in read.values()])
    if isinstance(entering, str):
        return entering
    x, widths = entering
    weights = [weight for _, weight in read.values()]
    wide = [pad(w, (0, width - w.shape[1])) for w, width in zip(weights, widths, strict=True)]
    weight = wide[0] if len(wide) == 1 else torch.cat(wide, 1)
    return x, weight, None, sum(widths)


def of_synapses(signals: list[Any], layers: list[Linear]) -> Made | str:
    """Connections with some synapses alone: those of one signal after those of another."""
    entering = beside(signals)
    if isinstance(entering, str):
        return entering
    x, widths = entering
    edges = [layer.edges for layer in layers if layer.edges is not None]
    weight = torch.cat([layer.weight for layer in layers])
    return x, weight, edges_beside(edges, widths), sum(widths)


def edges_beside(edges: list[Edges], widths: list[int]) -> Edges:
    """The synapses of connections side by side; made once, and again where one was changed."""
    parts = [part for each in edges for part in (each.starts, each.targets)]
    now = (tuple(widths), tuple(0 if part.is_inference() else part._version for part in parts))
    # The first targets are the key, so the value must not hold them.
    others = [part if k != 1 else None for k, part in enumerate(parts)]
    known = _TOGETHER.get(parts[1])
    if known and known[0] == now and all(a is b for a, b in zip(known[1], others, strict=True)):
        return known[2]
    with torch.inference_mode(False):  # they are used again
        starts, count = [edges[0].starts[:1].clone()], 0
        for each, width in zip(edges, widths, strict=True):
            starts.append(each.starts[1:] + count)
            count += len(each.targets)
            starts.append(each.starts.new_full((width - each.inputs,), count))
        targets = torch.cat([each.targets for each in edges])
        made = Edges(torch.cat(starts), targets, edges[0].outputs)
    _TOGETHER[parts[1]] = (now, others, made)
    return made


def beside(signals: list[Any]) -> tuple[Any, list[int]] | str:
    """Signals as one input, and the columns of each."""
    if len(signals) == 1:
        x = signals[0]
        return (x.read() if isinstance(x, Signal) else x), [x.shape[-1]]
    backend = next((x.backend for x in signals if isinstance(x, Signal)), "")
    if not backend:
        return "no signal comes from neurons"
    parts = []
    for x in signals:
        if isinstance(x, Signal) and x.backend != backend:
            return "two backends made its signals"
        read = x.read() if isinstance(x, Signal) else x
        if isinstance(read, Tensor) and is_static(read):
            return "a signal is constant in time"
        part = as_bits(read, backend) if isinstance(read, Tensor) else read
        if part is None:
            return "a signal is no spikes"
        parts.append(part)
    made = kernels.side_by_side(parts, backend)
    return f"{backend} does not take several signals at once" if made is None else made
