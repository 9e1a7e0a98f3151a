"""States of sequences of different length: in the order in which samples run, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.ragged.packing import Packing
from spikegrad.types import State, map_state

__all__ = ["joined_states", "packed_state", "unpacked_state"]


def packed_state(state: State, packing: Packing) -> State:
    """The states of the samples that have steps, as they run; None for rest."""
    if packing.in_order:
        return state
    return map_state(lambda part: part.index_select(0, packing.order.to(part.device)), state)


def unpacked_state(after: State, before: State, packing: Packing) -> State:
    """The states behind a run, in the order of the batch; of a sample without a step as before it.

    Raises UserError where such a sample has no state of some layer.
    """
    if packing.in_order:
        return after
    if packing.active < packing.batch:
        return over(before, after, packing.order)
    back = packing.order.argsort()
    return map_state(lambda part: part.index_select(0, back.to(part.device)), after)


def over(before: State, after: State, order: Tensor) -> State:
    """The states of some samples in their places among those of all."""

    def put(old: Tensor | None, new: Tensor | None) -> Tensor | None:
        if new is None:
            return old
        if old is None:
            raise UserError(
                message(
                    "expected a state of every layer where a length is 0",
                    "None",
                    "pass the states that this network returned",
                )
            )
        return old.index_copy(0, order.to(new.device), new)

    return zipped(put, before, after)


def joined_states(parts: Sequence[State]) -> State:
    """States of some samples, then of others."""

    def cat(*tensors: Tensor | None) -> Tensor | None:
        return None if tensors[0] is None else torch.cat(tensors)  # type: ignore[arg-type]

    return parts[0] if len(parts) == 1 else zipped(cat, *parts)


def zipped(function: Callable[..., Any], *states: State) -> State:
    """`map_state` over several states of one structure; a part that is None stays one tensor."""
    shape = next((s for s in states if s is not None), None)
    if shape is None or isinstance(shape, Tensor):
        return None if shape is None else function(*states)
    if isinstance(shape, dict):
        return {
            name: zipped(function, *(None if s is None else s.get(name) for s in states))
            for name in shape
        }
    parts = [
        zipped(function, *(None if s is None else s[k] for s in states)) for k in range(len(shape))
    ]
    return type(shape)(*parts) if hasattr(shape, "_fields") else tuple(parts)
