"""What is said where a backend cannot run a call."""

from __future__ import annotations

import warnings
from functools import cache

from torch import Tensor

from spikegrad.errors import SpikegradWarning, UserError, message
from spikegrad.types import Edges

__all__ = ["refused", "say_dense", "warn_once"]

LARGE = 1 << 30
"""Bytes of a dense matrix that are worth a word."""


def refused(scan: str, backend: str, why: str) -> UserError:
    """A backend asked for by name that cannot run a call."""
    return UserError(
        message(
            f"expected a call of {scan} that backend={backend!r} can run",
            why,
            "use backend='auto' or 'reference'",
        )
    )


@cache
def warn_once(name: str, why: str) -> None:
    """One line for a neuron that runs in torch."""
    warnings.warn(
        f"{name} runs in torch, one step after the other, several times slower: {why}",
        SpikegradWarning,
        stacklevel=2,
    )


def say_dense(edges: Edges | None, weight: Tensor, why: str) -> None:
    """One line where the reference makes a large matrix out of few synapses."""
    size = 0 if edges is None else edges.inputs * edges.outputs * weight.element_size()
    if size >= LARGE:
        warn_dense(size / 2**30, why)


@cache
def warn_dense(size: float, why: str) -> None:
    """The same for a size (GiB)."""
    warnings.warn(
        f"a sparse connection runs as its dense matrix of {size:.3g} GiB: {why}",
        SpikegradWarning,
        stacklevel=2,
    )
