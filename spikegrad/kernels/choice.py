"""What a choice of backend is, and the error or the warning where there is none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from spikegrad.errors import SpikegradWarning, UserError, message

__all__ = ["Choice", "refused", "warn_once"]


@dataclass(frozen=True)
class Choice:
    """One decision: which backend runs a scan, and the reason in words."""

    scan: str
    backend: str
    reason: str
    function: Callable[..., Any]


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
