"""Which library file runs: one built here, else the wheel's own, else one still to be built."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from spikegrad.kernels.cpu.build import cache_folder, library_path
from spikegrad.kernels.cpu.compiler import BuildError
from spikegrad.kernels.cpu.instructions import in_force
from spikegrad.kernels.cpu.processor import described
from spikegrad.kernels.cpu.ready_made import ready_made

__all__ = ["Installed", "installed"]


class Installed(NamedTuple):
    """A library that is there.

    path: the file. isa: its instruction set. origin: "built here" or "ready-made".
    table: where its crossover table is kept once it was measured on this machine.
    """

    path: Path
    isa: str
    origin: str
    table: Path


def installed() -> Installed | None:
    """The library to load, None where one must be built first.

    One that was built here comes first: it may use more of this CPU than the set has.
    Raises UserError for a set that `SPIKEGRAD_ISA` names and this CPU does not have.
    """
    isa = in_force().name
    try:
        path = library_path()
    except BuildError:  # no compiler: none was built here, or not with this one
        path = None
    if path is not None and path.exists():
        return Installed(path, isa, "built here", path.with_suffix(".json"))
    path = ready_made()
    if path is None:
        return None
    # Beside other libraries' tables: a wheel's folder may be read-only, or serve several machines.
    cpu = hashlib.sha256(described().encode()).hexdigest()[:8]
    return Installed(path, isa, "ready-made", cache_folder() / f"{path.stem}-{cpu}.json")
