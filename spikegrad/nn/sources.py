"""Several connections into the same neurons as one: their signals side by side.

A sum of products is one product of a longer input with a wider weight, `W x + V y = [W V] [x y]`,
and of the same input one product with the sum of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from spikegrad import kernels
from spikegrad.nn.connection import Linear
from spikegrad.nn.current import Current
from spikegrad.nn.fold import is_static
from spikegrad.nn.signal import Signal

__all__ = ["Joint", "joint"]


class Joint(NamedTuple):
    """What `fuse` reads of a `Linear`, of several connections together; x: what enters it."""

    weight: Tensor
    bias: Tensor | None
    backend: str
    out_features: int
    x: Any
    edges: None = None

    @property
    def in_features(self) -> int:
        """Columns of x."""
        return self.weight.shape[1]


def joint(current: Current) -> Joint | str:
    """The connections of a sum as one, or why they are not."""
    sources = current.sources
    layers = [source.connection for source in sources]
    linears = [layer for layer in layers if isinstance(layer, Linear) and layer.edges is None]
    if len(linears) < len(layers):
        return "a connection of the sum has some synapses alone"
    asked = {layer.backend for layer in linears} - {"auto"}
    if len(asked) > 1:
        return f"the connections of the sum ask for several backends, {', '.join(sorted(asked))}"
    backend = asked.pop() if asked else "auto"
    biases = [layer.bias for layer in linears if layer.bias is not None]
    bias = torch.stack(biases).sum(0) if biases else None
    read: dict[int, tuple[Any, list[Tensor]]] = {}
    for source, layer in zip(sources, linears, strict=True):
        read.setdefault(id(source.x), (source.x, []))[1].append(layer.weight)
    weights = [sum(parts[1:], parts[0]) for _, parts in read.values()]
    together = beside([x for x, _ in read.values()], weights)
    if isinstance(together, str):
        return together
    x, weight = together
    return Joint(weight, bias, backend, linears[0].out_features, x)


def beside(signals: Sequence[Any], weights: list[Tensor]) -> tuple[Any, Tensor] | str:
    """Signals as one input, and the weight that fits it."""
    if len(signals) == 1:
        x = signals[0]
        return (x.spikes if isinstance(x, Signal) else x), weights[0]
    backend = next((x.backend for x in signals if isinstance(x, Signal)), None)
    if backend is None:
        chosen = kernels.choose("linear", "auto", signals[0], {"weight": weights[0]})
        backend = chosen.backend
    parts = []
    for x in signals:
        if isinstance(x, Signal):
            part = x.spikes if x.backend == backend else None
        else:
            part = None if is_static(x) else kernels.packed(x, backend)
        if part is None:
            return "a signal of the sum is no spikes, or of another backend"
        parts.append(part)
    made = kernels.side_by_side(parts, backend)
    if made is None:
        return f"{backend} does not take several signals at once"
    x, widths = made
    wide = [pad(w, (0, width - w.shape[1])) for w, width in zip(weights, widths, strict=True)]
    return x, torch.cat(wide, 1)
