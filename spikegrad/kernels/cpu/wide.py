"""Connections to neurons with several inputs, as the layer kernel takes them.

A row of currents has the tiles of 64 neurons of the first input, then those of the next. A
connection has `inputs * N` outputs: where N is no multiple of 64, there are outputs without a
synapse between those of two inputs.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.weak import WeakTensorKeyDictionary

from spikegrad.kernels.cpu.spikes import TILE, tiles
from spikegrad.types import Edges

__all__ = ["Delays", "Feedback", "spread", "spread_edges", "width"]

_SPREAD = WeakTensorKeyDictionary()
"""Edges that were made of targets, and what they were made with."""


class Delays(NamedTuple):
    """The step, `[E]`, from which on a synapse's taps arrive, and `[B, most + 1, N]` what is on its
    way at the start.
    """

    first: Tensor
    arriving: Tensor


class Feedback(NamedTuple):
    """A feedback's weight, `[W, N]` or with edges `[E]`, and what it adds to the first step; with
    delays taps `[E, K]`, of neurons with one input.
    """

    weight: Tensor | None = None
    edges: Edges | None = None
    first: Tensor | None = None
    delays: Delays | None = None

    def spread(self, inputs: int) -> Feedback:
        """The same to currents as the kernel lays them out."""
        if self.weight is None or inputs < 2:
            return self
        first = self.first
        if first is not None:
            first = spread(first.t(), inputs).t()
        if self.edges is None:
            return Feedback(spread(self.weight, inputs), None, first)
        return Feedback(self.weight, spread_edges(self.edges, inputs), first)


def width(inputs: int, neurons: int) -> int:
    """The columns of a row of currents.

    >>> width(1, 100), width(2, 100), width(2, 64)
    (100, 256, 128)
    """
    return neurons if inputs == 1 else inputs * tiles(neurons) * TILE


def spread(weight: Tensor, inputs: int) -> Tensor:
    """A weight `[inputs * N, *]`, or a bias, with rows of zeros where nobody receives."""
    neurons = weight.shape[0] // inputs
    wide = width(inputs, neurons)
    if weight.shape[0] == wide:
        return weight
    apart = weight.unflatten(0, (inputs, neurons))
    return pad(apart, (0, 0) * (apart.dim() - 2) + (0, wide // inputs - neurons)).flatten(0, 1)


def spread_edges(edges: Edges, inputs: int) -> Edges:
    """Edges to `inputs * N` outputs with targets in the same places; made once for targets."""
    starts, targets, outputs = edges
    neurons = outputs // inputs
    wide = width(inputs, neurons)
    if outputs == wide:
        return edges
    now = (targets._version, inputs, outputs)
    compiling = torch.compiler.is_compiling()
    known = None if compiling else _SPREAD.get(targets)
    if known is None or known[0] != now:
        with nullcontext() if compiling else torch.inference_mode(False):  # it is used again
            further = torch.div(targets, neurons, rounding_mode="floor")
            known = (now, targets + further * (wide // inputs - neurons))
        if not compiling:
            _SPREAD[targets] = known
    return Edges(starts, known[1], wide)
