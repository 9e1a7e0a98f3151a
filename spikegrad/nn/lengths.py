"""A layer or network over a padded batch whose samples have different lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from spikegrad.checks import check_current
from spikegrad.errors import UserError, message
from spikegrad.nn.now import NOW
from spikegrad.ragged import (
    Events,
    Packed,
    Packing,
    check_lengths,
    packed_state,
    padded,
    unpacked_state,
)
from spikegrad.tracing import untraced
from spikegrad.types import State

__all__ = ["over_events", "over_lengths"]


@untraced
def over_lengths(
    call: Callable[..., Any], x: Any, state: State = None, *, lengths: Any, **named: Any
) -> tuple[Any, State]:
    """`call(x, state) -> (y, state)` over the real steps of x `[T, B, *features]` alone.

    call: of a layer, which takes `Packed` sequences; state: in the order of the batch.
    Returns y `[T, B, *features]`, 0 behind a sample's end, and the states at the ends.
    Raises UserError or TypeError for wrong lengths, and within `Module.flow`.
    """
    if NOW.keeper is not None:
        expected = "expected lengths in the call of the outermost network"
        remedy = "within flow all layers have those of the network's call"
        raise UserError(message(expected, "lengths of a layer within Module.flow", remedy))
    check_current(x, floating=False)
    steps, batch = x.shape[:2]
    found = check_lengths(lengths, steps, batch, least=1 if state is None else 0)
    if not bool(found.any()):
        expected = "expected at least one sample with a step left"
        raise UserError(message(expected, f"lengths of 0 for all {batch}", "leave this call out"))
    if bool((found == steps).all()):
        out: tuple[Any, State] = call(x, state, **named)
        return out
    return over_packed(call, Packed.of(x, Packing(found, steps)), state, **named)


@untraced
def over_events(
    call: Callable[..., Any], x: Events, state: State = None, *, like: Tensor, **named: Any
) -> tuple[Any, State]:
    """The same over events; like: a tensor of the dtype and on the device of the layer's own."""
    if NOW.keeper is not None:
        expected = "expected events in the call of the outermost network"
        raise UserError(message(expected, "events within Module.flow", "pass them to the network"))
    return over_packed(call, Packed.of_events(x, like), state, **named)


def over_packed(
    call: Callable[..., Any], x: Packed, state: State, **named: Any
) -> tuple[Any, State]:
    """A call with packed sequences, from and to the order of the batch."""
    y, after = call(x, packed_state(state, x.packing), **named)
    return padded(y), unpacked_state(after, state, x.packing)
