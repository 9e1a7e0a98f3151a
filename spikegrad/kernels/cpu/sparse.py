"""A connection with some synapses alone: its product along them and the spikes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from spikegrad.errors import UserError, message
from spikegrad.kernels.cpu.sparse_operator import run
from spikegrad.kernels.cpu.spikes import Arrival, Spikes, arrived
from spikegrad.types import Edges

__all__ = ["sparse_linear", "usable"]

_SEEN = WeakTensorKeyDictionary()
"""Targets that were looked at, and what they were looked at with."""


def sparse_linear(
    x: Tensor | Spikes,
    *,
    weight: Tensor,
    bias: Tensor | None = None,
    edges: Edges,
    witness: list[Any] | None = None,
) -> Tensor:
    """`functional.linear` with edges, along the synapses of what is not 0.

    x: `[T, B, I]`, or one step seen T times, whose product is taken once; weight: `[E]`; bias:
    `[N]`; witness: takes what the kernel chose. Returns `[T, B, N]`.
    """
    given = arrived(x)
    still = given.bits is None and given.shape[0] > 1 and not given.x.is_contiguous()
    once = still and given.x.stride(0) == 0
    y, choice = product(given._replace(x=given.x[:1]) if once else given, weight, bias, edges)
    if witness is not None:
        witness.append((choice, None, given))
    return y.expand(given.shape[0], *y.shape[1:]) if once else y


def product(
    given: Arrival, weight: Tensor, bias: Tensor | None, edges: Edges
) -> tuple[Tensor, Tensor]:
    """Currents, and how many values are not 0, as `Choice` of connection.h tells it."""
    usable(weight, edges)
    y, _, choice = run(
        given.x.contiguous() if given.bits is None else given.x,
        given.bits,
        given.support,
        weight.contiguous(),
        edges.starts,
        edges.targets,
        None if bias is None else bias.contiguous(),
        edges.outputs,
    )
    return y, choice


def usable(weight: Tensor, edges: Edges) -> None:
    """Edges as `types.Edges` says, with one number each: a kernel follows them into memory.

    They are looked at once, and again when they were changed.
    Raises UserError where they are not.
    """
    starts, targets = edges.starts, edges.targets
    if weight.shape != targets.shape:
        expected = f"expected a weight [E] with one number for each of {len(targets)} synapses"
        raise UserError(message(expected, str(list(weight.shape))))
    if torch.compiler.is_compiling():
        return
    now = (starts.data_ptr(), starts._version, targets._version, edges.outputs, len(starts))
    if _SEEN.get(targets) == now:
        return
    if not torch.ops.spikegrad.are_edges(starts, targets, edges.outputs):
        expected = "expected starts that rise from 0 to E, and targets that rise within a source"
        raise UserError(message(expected, "others", "build them with Linear(..., connectivity=)"))
    _SEEN[targets] = now
