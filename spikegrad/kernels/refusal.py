"""What is said where a backend cannot run a call."""

from __future__ import annotations

import warnings
from functools import cache

from spikegrad.errors import SpikegradWarning, UserError, message

__all__ = ["refused", "warn_once"]


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
