"""Layers whose state somebody else may keep: `Module` calls them with x alone."""

from __future__ import annotations

from typing import Any

from spikegrad.nn.current import Layer
from spikegrad.nn.now import NOW

__all__ = ["Threaded"]


class Threaded(Layer):
    """A layer with a state. Within `Module.flow` it is called with x alone and returns y alone;
    elsewhere, and where a state is given, `layer(x, state=None) -> (y, state)`.
    """

    def __call__(self, x: Any, *state: Any, **named: Any) -> Any:
        keeper = NOW.keeper
        if keeper is None or state or named:
            return super().__call__(x, *state, **named)
        return keeper.run(self, x)
