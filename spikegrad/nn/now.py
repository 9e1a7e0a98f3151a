"""What a thread is in the middle of."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from spikegrad.nn.witness import Witness

__all__ = ["NOW", "Keeper"]


class Keeper(Protocol):
    """Whoever keeps the states of one run; names: of its layers; given: its input; bits: that input
    packed, and for what backend and version (`signal.as_bits`).
    """

    names: Mapping[nn.Module, str]
    given: Any
    bits: tuple[tuple[str, int], Any] | None

    def run(self, layer: nn.Module, x: Any) -> Any:
        """Run a layer over x from its state, keep the next state, return the output alone."""
        ...

    def name(self, error: Exception, layer: nn.Module) -> None:
        """Say in an error which layer raised it."""
        ...


class Now(threading.local):
    """Of this thread. keeper: of the `flow` that runs, None outside of one; witness: where
    `explain` has a flow write what it chose, else None.
    """

    keeper: Keeper | None = None
    witness: Witness | None = None


NOW = Now()
