"""Layers whose state somebody else may keep: `Module` calls them with x alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from spikegrad.errors import UserError, message
from spikegrad.nn.current import Layer, takes_packed
from spikegrad.nn.lazy import as_numbers
from spikegrad.nn.lengths import over_events, over_lengths
from spikegrad.nn.now import NOW
from spikegrad.nn.time_step import check_dt
from spikegrad.ragged import Events, Packed, by_segments

__all__ = ["Threaded"]


class Threaded(Layer):
    """A layer with a state. Within `Module.flow` it is called with x alone and returns y alone;
    elsewhere, and where a state is given, `layer(x, state=None, lengths=None) -> (y, state)`.

    lengths: int64 `[B]`, the steps of every sample. A sample's state stays as it is behind its last
    step, and its output is 0 there: each is computed as if it were alone. x may be `Events`, which
    have lengths of their own.
    """

    def __call__(self, x: Any, *state: Any, lengths: Any = None, **named: Any) -> Any:
        if type(x) is Events:
            if lengths is not None:
                expected = "expected no lengths beside events, which have their own"
                raise UserError(message(expected, f"lengths={lengths}", "omit lengths"))
            check_dt(self, x.dt if x.in_ms else None)
            own = (p for p in (*self.parameters(), *self.buffers()) if p.is_floating_point())
            like = next(own, torch.zeros(()))
            return over_events(self.__call__, x, *state, like=like, **named)
        if lengths is not None:
            return over_lengths(self.__call__, x, *state, lengths=lengths, **named)
        keeper = NOW.keeper
        if keeper is not None and not state and not named:
            return keeper.run(self, x)
        if type(x) is Packed and not takes_packed(self):
            return by_segments(partial(super(Layer, self).__call__, **named), as_numbers(x), *state)
        return super().__call__(x, *state, **named)
