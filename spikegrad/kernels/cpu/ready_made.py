"""Kernels compiled ahead of time, for a wheel: which there are, and which fits.

They use torch's stable ABI alone, so that one file serves every torch from 2.10 on, and the
instructions of one set alone, so that one file serves every CPU that has it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from spikegrad.kernels.cpu.build import sources_digest
from spikegrad.kernels.cpu.compiler import flags_of, library_suffix, target_flags
from spikegrad.kernels.cpu.instructions import InstructionSet, in_force

__all__ = ["FOLDER", "SETS", "alone", "file_name", "ready_made", "ready_made_steps", "steps_name"]

FOLDER = Path(__file__).parent / "lib"
SETS = ("avx2", "avx512")
"""What a wheel for x86-64 carries."""


def ready_made() -> Path | None:
    """The wheel's library for the instruction set in force, None where it has none that fits.

    Other sources or flags (`SPIKEGRAD_CXXFLAGS`) than those of the wheel fit none of its libraries.

    Raises UserError for a set that `SPIKEGRAD_ISA` names and this CPU does not have.
    """
    if not FOLDER.is_dir():
        return None
    path = FOLDER / file_name(in_force().name)
    return path if path.is_file() else None


def ready_made_steps() -> Path | None:
    """The wheel's programs of built-in neurons for the same set, None where none fit."""
    if not FOLDER.is_dir():
        return None
    path = FOLDER / steps_name(in_force().name)
    return path if path.is_file() else None


def file_name(name: str) -> str:
    """Of the sources and flags too: a library never runs beside other sources than its own."""
    digest = hashlib.sha256(sources_digest())
    for flag in [*flags_of(alone(name), portable=True), *target_flags(alone(name))]:
        digest.update(b"\0" + flag.encode())
    return f"kernels-{name}-{digest.hexdigest()[:20]}{library_suffix()}"


def steps_name(isa: str) -> str:
    """The file of programs beside the kernels of a set."""
    return file_name(isa).replace("kernels-", "steps-", 1)


def alone(name: str) -> InstructionSet:
    """A set without anything else that this CPU has."""
    return InstructionSet(name, False, "for a wheel")
