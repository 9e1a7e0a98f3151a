"""What a thread is in the middle of."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from torch import nn

from spikegrad.nn.witness import Witness

__all__ = ["NOW", "Keeper"]


class Keeper(Protocol):
    """Whoever keeps the states of one run; given: its input; bits: that input packed, and for what
    backend and version (`signal.as_bits`).
    """

    given: Any
    bits: tuple[tuple[str, int], Any] | None

    def run(self, layer: nn.Module, x: Any) -> Any:
        """Run a layer over x from its state, keep the next state, return the output alone."""
        ...


class Now(threading.local):
    """Of this thread. keeper: of the `flow` that runs, None outside of one; witness: where
    `explain` has a flow write what it chose, else None.
    """

    keeper: Keeper | None = None
    witness: Witness | None = None


NOW = Now()
