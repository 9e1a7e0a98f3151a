"""Layers whose state somebody else may keep: `Module` calls them with x alone."""

from __future__ import annotations

from functools import partial
from typing import Any

from spikegrad.nn.current import Layer, as_numbers, takes_packed
from spikegrad.nn.lengths import over_lengths
from spikegrad.nn.now import NOW
from spikegrad.ragged import Packed, by_segments

__all__ = ["Threaded"]


class Threaded(Layer):
    """A layer with a state. Within `Module.flow` it is called with x alone and returns y alone;
    elsewhere, and where a state is given, `layer(x, state=None, lengths=None) -> (y, state)`.

    lengths: int64 `[B]`, the steps of every sample. A sample's state stays as it is behind its last
    step, and its output is 0 there: each is computed as if it were alone.
    """

    def __call__(self, x: Any, *state: Any, lengths: Any = None, **named: Any) -> Any:
        if lengths is not None:
            return over_lengths(self.__call__, x, *state, lengths=lengths, **named)
        keeper = NOW.keeper
        if keeper is not None and not state and not named:
            return keeper.run(self, x)
        if type(x) is Packed and not takes_packed(self):
            return by_segments(partial(super(Layer, self).__call__, **named), as_numbers(x), *state)
        return super().__call__(x, *state, **named)
