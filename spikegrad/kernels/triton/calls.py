"""What the operators of Triton's kernels take and return, by names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import Tensor

__all__ = [
    "FeedbackBackward",
    "FeedbackCall",
    "FeedbackOutputs",
    "ScanBackward",
    "ScanCall",
    "ScanOutputs",
    "by_name",
    "in_order",
]


def by_name(kind: type, values: Iterable[Any]) -> dict[str, Any]:
    """What torch has one of for each argument, or output, of a call: gradients, needs."""
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    return dict(zip(fields, values, strict=True))


def in_order(kind: type, **values: Tensor | None) -> tuple[Tensor | None, ...]:
    """The gradients of a call's arguments, None for those that are not named."""
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    assert set(values) <= set(fields)
    return tuple(values.get(name) for name in fields)


class ScanCall(NamedTuple):
    """A scan.

    program: its key; x: `[T, B, inputs * N]`, dense in all but T, of any float; noise: uniform,
    `[T, B, N]`; bias: `[C]`, added to every x of a channel; scale, shift: `[C]`, the sum is
    multiplied by and added to; starts: `[states, B, N]`; parameters: `[rows, 1 or N]`, all but x in
    the program's dtype, N a multiple of C; keep: a backward pass may follow; segment: steps after
    which states are kept, and everything else computed again, 0: what the backward pass reads is
    kept at every step; pack: the spikes leave as bits, not as numbers.
    """

    program: int
    x: Tensor
    noise: Tensor | None
    bias: Tensor | None
    scale: Tensor | None
    shift: Tensor | None
    starts: Tensor
    parameters: Tensor
    keep: bool
    segment: int
    pack: bool


class ScanOutputs(NamedTuple):
    """What a scan returns; empty tensors stand for what a call does not have.

    y: the output `[T, B, N]`, with `pack` an edge of the graph: zeros without memory; membrane: the
    second output; bits: spikes as bytes of 8 steps `[T/8, B, N]`; reals: kept numbers
    `[T, reals, B * N]`; masks: kept masks as bytes of 8 steps `[T/8, masks, B * N]`; marks: states
    at the start of segments; ends: states at the end `[states, B, N]`.
    """

    y: Tensor
    membrane: Tensor
    bits: Tensor
    reals: Tensor
    masks: Tensor
    marks: Tensor
    ends: Tensor


class ScanBackward(NamedTuple):
    """A scan's way back: gradients of its outputs, and what it was given and kept."""

    program: int
    grad: Tensor | None
    grad_membrane: Tensor | None
    grad_ends: Tensor | None
    x: Tensor
    noise: Tensor | None
    bias: Tensor | None
    scale: Tensor | None
    shift: Tensor | None
    starts: Tensor
    parameters: Tensor
    reals: Tensor
    masks: Tensor
    marks: Tensor
    segment: int


class FeedbackCall(NamedTuple):
    """A scan with feedback.

    first: the spikes before, `[B, N]`; weight: `[N, N]`, both in x's dtype; bias: `[N]`; others: as
    of a scan.
    """

    program: int
    x: Tensor
    bias: Tensor | None
    first: Tensor
    weight: Tensor
    starts: Tensor
    parameters: Tensor
    keep: bool
    segment: int
    pack: bool


class FeedbackOutputs(NamedTuple):
    """What it returns. last: the spikes at the end `[B, N]`; others: as of a scan, with bits if a
    backward pass may follow.
    """

    y: Tensor
    last: Tensor
    bits: Tensor
    reals: Tensor
    masks: Tensor
    marks: Tensor
    ends: Tensor


class FeedbackBackward(NamedTuple):
    """Its way back."""

    program: int
    grad: Tensor | None
    grad_last: Tensor | None
    grad_ends: Tensor | None
    x: Tensor
    bias: Tensor | None
    first: Tensor
    weight: Tensor
    starts: Tensor
    parameters: Tensor
    bits: Tensor
    reals: Tensor
    masks: Tensor
    marks: Tensor
    segment: int
