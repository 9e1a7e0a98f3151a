"""Anything that runs whole sequences of one length, over sequences of different length.

Time is cut where a sample ends: between two ends the same samples run, so each stretch is a dense
sequence of a narrower batch that starts from the states of the stretch before.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.ragged.packed import Packed
from spikegrad.ragged.packing import Packing, Segment
from spikegrad.ragged.states import joined_states
from spikegrad.types import State, map_state

__all__ = ["by_segments", "in_stretch"]

NOW: ContextVar[Packing | None] = ContextVar("NOW", default=None)
"""The sequences of which a stretch runs now."""


def by_segments(run: Callable[..., Any], x: Packed, state: State = None) -> tuple[Any, ...]:
    """`run(x, state) -> (y, state, ...)` of dense sequences, over packed ones.

    x: the sequences; state: of the samples as they run, None for rest. Returns what run returns,
    with `Packed` for every tensor `[T, B, ...]`, and the states in which the samples ended.
    Raises UserError for a state whose parts do not begin with the batch.
    """
    packing = x.packing
    pieces: list[Any] = []
    ended: list[State] = []
    for segment in packing.segments:
        state = kept(state, segment.alive, ended)
        before = NOW.set(packing)
        try:
            y, state, *more = run(part_of(x.rows, segment), state)
        finally:
            NOW.reset(before)
        check_batch(run, state, segment.alive)
        pieces.append((y, *more))
    made = joined(pieces, packing)
    return made[0], joined_states([state, *reversed(ended)]), *made[1:]


def in_stretch() -> Callable[[Any], Any]:
    """What makes, of a tensor `[T, B, *features]` of the samples that run now, sequences of all
    samples: for those who listen inside of `run`. Outside of a stretch a tensor stays as it is.
    """
    packing = NOW.get()

    def placed(y: Any) -> Any:
        if packing is None or not isinstance(y, Tensor):
            return y
        return Packed(y.flatten(0, 1).unsqueeze(0), packing.of_stretch(y.shape[1], y.shape[0]))

    return placed


def part_of(rows: Tensor, segment: Segment) -> Tensor:
    """The dense sequence `[T, B, *features]` of one stretch."""
    return rows[0, segment.rows].unflatten(0, (segment.steps, segment.alive))


def kept(state: State, alive: int, ended: list[State]) -> State:
    """The states of the first samples; those of samples that have ended go to the list."""
    size = batch_of(state)
    if size is None or size == alive:
        return state
    ended.append(map_state(lambda part: part[alive:], state))
    return map_state(lambda part: part[:alive], state)


def batch_of(state: State) -> int | None:
    """The number of samples that a state is of; None of a state without a tensor."""
    if isinstance(state, Tensor):
        return len(state)
    parts = state.values() if isinstance(state, dict) else state
    return next((n for part in parts or () if (n := batch_of(part)) is not None), None)


def check_batch(run: Any, state: State, alive: int) -> None:
    """A state whose parts all begin with the batch: else nobody knows which sample is which."""

    def check(part: Tensor) -> Tensor:
        if part.dim() < 1 or len(part) != alive:
            raise UserError(
                message(
                    f"expected every part of the state as [B, ...] with B={alive}",
                    f"{list(part.shape)} of {getattr(run, '__qualname__', type(run).__name__)}",
                    "sequences of different length need the batch first in a layer's state",
                )
            )
        return part

    map_state(check, state)


def joined(pieces: list[Any], packing: Packing) -> Any:
    """Outputs of all stretches as packed sequences, in their structure."""
    first = pieces[0]
    if isinstance(first, Tensor):
        return Packed(torch.cat([p.flatten(0, 1) for p in pieces]).unsqueeze(0), packing)
    if isinstance(first, (tuple, list)):
        parts = [joined([p[k] for p in pieces], packing) for k in range(len(first))]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return first  # None
