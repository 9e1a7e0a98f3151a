"""The length of a step: layers that count in ms must agree about it."""

from __future__ import annotations

import math
import warnings
from weakref import WeakKeyDictionary

import torch
from torch import nn

from spikegrad.errors import SpikegradWarning, message

__all__ = ["check_dt", "dt_problem", "several_dt"]

_SEEN: WeakKeyDictionary[nn.Module, set[float | None]] = WeakKeyDictionary()
"""Networks that have been looked at, and with what steps of events; None: without events."""


def dt_problem(network: nn.Module, events: float | None = None) -> str:
    """What is wrong with the steps of a network's layers and of the events into it (ms), or "".

    >>> from spikegrad.nn import LI, LIF
    >>> dt_problem(nn.Sequential(LIF(20.0), LI(20.0, dt=0.5)))
    '1 ms in 0 (LIF), 0.5 ms in 1 (LI)'
    >>> dt_problem(LIF(20.0)), dt_problem(LIF(20.0), 2.0)
    ('', '2 ms in the events, 1 ms in LIF')
    """
    parts = [f"{dt:g} ms in {name}" for dt, name in several_dt(network, events).items()]
    return ", ".join(parts) if len(parts) > 1 else ""


def several_dt(network: nn.Module, events: float | None = None) -> dict[float, str]:
    """The steps (ms) of a network's layers and of the events into it, each with who has it first.

    >>> from spikegrad.nn import LIF
    >>> several_dt(nn.Sequential(LIF(20.0), LIF(10.0)))
    {1.0: '0 (LIF)'}
    """
    found = {} if events is None else {events: "the events"}
    for name, layer in network.named_modules():
        dt = getattr(layer, "step_ms", None)
        if dt is not None and not any(math.isclose(dt, known, rel_tol=1e-6) for known in found):
            kind = type(layer).__name__
            found[dt] = f"{name} ({kind})" if name else kind
    return found


def check_dt(network: nn.Module, events: float | None = None) -> None:
    """Warn of it, once for a network and a step of its events."""
    if torch.compiler.is_compiling():
        return
    seen = _SEEN.setdefault(network, set())
    if events in seen or (events is None and seen):
        return
    seen.add(events)
    got = dt_problem(network, events)
    if got:
        said = message("expected one time step dt", got, "give all of them the same dt")
        warnings.warn(said, SpikegradWarning, stacklevel=3)
