"""Instruction sets: the ones that the kernels are written for, and which of them is in force.

`SPIKEGRAD_ISA` names one; otherwise it is the best that this CPU has.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from spikegrad.errors import UserError, message, unknown
from spikegrad.kernels.cpu.processor import architecture, features

__all__ = ["LANE_BYTES", "NEEDS", "InstructionSet", "best", "in_force", "missing"]

V3 = frozenset({"avx2", "fma", "bmi1", "bmi2", "abm", "f16c", "movbe"})  # abm: LZCNT
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
NEEDS: dict[str, tuple[str, frozenset[str]]] = {
    "avx512": ("x86_64", V4),
    "avx2": ("x86_64", V3),
    "neon": ("aarch64", frozenset({"asimd"})),
    "generic": ("", frozenset()),
}
"""Architecture ("" for any) and features, by Linux's names, of each set; the best ones first.

avx2 is what compilers call x86-64-v3, avx512 x86-64-v4.
"""

LANE_BYTES = {"avx512": 64, "avx2": 32, "neon": 16, "generic": 16}
"""Of a vector: kLaneBytes of src/simd/set.h."""


@dataclass(frozen=True)
class InstructionSet:
    """A set of instructions that kernels are compiled for.

    native: whether it is this CPU's best, so that the compiler may use all that the CPU has.
    reason: why this one, in words.
    """

    name: str
    native: bool
    reason: str


def best() -> str:
    """The name of the best set that this CPU has."""
    return next(name for name in NEEDS if not missing(name))


def missing(name: str) -> str:
    """What this CPU lacks for a set, in words; "" if nothing.

    >>> missing("generic")
    ''
    """
    place, wanted = NEEDS[name]
    if place and place != architecture():
        return f"the architecture {place} (this is {architecture()})"
    return " ".join(sorted(wanted - features()))


def in_force() -> InstructionSet:
    """The set that `SPIKEGRAD_ISA` names, or the best one of this CPU.

    Raises UserError for an unknown name, and for a set that this CPU does not have.
    """
    named, top = os.environ.get("SPIKEGRAD_ISA", ""), best()
    if not named:
        return InstructionSet(top, True, "the best set of this CPU")
    if named not in NEEDS:
        what = unknown("instruction set", named, NEEDS)
        raise UserError(f"SPIKEGRAD_ISA: {what}; unset it to use the best set")
    if lacks := missing(named):
        raise UserError(
            message(
                f"expected an instruction set that this CPU has, at most {top!r}",
                f"SPIKEGRAD_ISA={named}, for which the CPU lacks {lacks}",
                "unset SPIKEGRAD_ISA to use the best set",
            )
        )
    if named == top:
        return InstructionSet(named, True, "SPIKEGRAD_ISA; also the best set of this CPU")
    return InstructionSet(named, False, f"SPIKEGRAD_ISA; the best set of this CPU is {top}")
