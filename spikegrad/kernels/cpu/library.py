"""Loading the kernels."""

from __future__ import annotations

import os
import warnings

import torch

from spikegrad.errors import SpikegradWarning
from spikegrad.kernels.cpu.build import BuildError, build
from spikegrad.kernels.cpu.installed import Installed, installed
from spikegrad.kernels.cpu.instructions import in_force
from spikegrad.kernels.cpu.schema import define
from spikegrad.tracing import constant

__all__ = ["isa", "load", "loaded"]

_REASON: list[str] = []
_LOADED: list[Installed] = []


@constant
def load() -> str:
    """Why the kernels are not there, or ""; the first call builds and loads them."""
    if not _REASON:
        _REASON.append(load_now())
    return _REASON[0]


def isa() -> str:
    """The instruction set of the kernels that run, or of those that would be loaded.

    Raises UserError for a set that `SPIKEGRAD_ISA` names and this CPU does not have.
    """
    return _LOADED[0].isa if _LOADED else in_force().name


def loaded() -> Installed | None:
    """The library that was loaded, None where none was."""
    return _LOADED[0] if _LOADED else None


def load_now() -> str:
    """Build if need be, load and register the kernels; return "" or the reason why they are not.

    One warning says what is lost. `SPIKEGRAD_KERNELS=off` leaves them out without one.
    Raises UserError for a set that `SPIKEGRAD_ISA` names and this CPU does not have.
    """
    if os.environ.get("SPIKEGRAD_KERNELS", "") == "off":
        return "SPIKEGRAD_KERNELS=off"
    try:
        library = load_library()
    except (BuildError, OSError) as error:
        reason = str(error)
        warnings.warn(
            f"the fast CPU kernels are missing, so networks run several times slower: {reason}",
            SpikegradWarning,
            stacklevel=2,
        )
        return reason
    from spikegrad.kernels.cpu import (  # which import this module
        conv,
        crossover,
        delayed_operator,
        layer_operator,
        learned_operator,
        linear_operator,
        pool2d,
        signals,
        sparse_operator,
        spike_pool_operator,
        spikes,
        step_operator,
        stream,
    )

    rooms = (
        spikes,
        signals,
        step_operator,
        linear_operator,
        sparse_operator,
        delayed_operator,
        learned_operator,
        layer_operator,
        conv,
        pool2d,
        spike_pool_operator,
        stream,
    )
    for schema in (
        "step_register(int key, int[] program) -> ()",
        "pool_bytes() -> (int live, int idle)",
        "pool_trim() -> ()",
        "pool_poison(bool on) -> ()",
    ):
        define(schema)
    for room in rooms:
        room.register()
    crossover.adopt(library.table, library.isa)
    _LOADED.append(library)
    return ""


def load_library() -> Installed:
    """Load the library that is installed, or build one; raises BuildError or OSError."""
    library = installed()
    if library is not None:
        try:
            torch.ops.load_library(str(library.path))
        except OSError:
            if library.origin == "built here":
                raise
        else:
            return library
    # None is there, or the wheel's does not fit this system.
    path = build()
    torch.ops.load_library(str(path))
    return Installed(path, in_force().name, "built here", path.with_suffix(".json"))
