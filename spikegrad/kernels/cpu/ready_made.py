"""Kernels compiled ahead of time, for a wheel: which there are, which fits, and how they are made.

They use torch's stable ABI alone, so that one file serves every torch from 2.10 on, and the
instructions of one set alone, so that one file serves every CPU that has it.
"""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
from pathlib import Path

from spikegrad.kernels.cpu.build import compile_into, sources_digest
from spikegrad.kernels.cpu.compiler import flags_of, library_suffix, target_flags
from spikegrad.kernels.cpu.instructions import InstructionSet, in_force

__all__ = ["SETS", "make", "ready_made"]

FOLDER = Path(__file__).parent / "lib"
SETS = ("avx2", "avx512")
"""What a wheel for x86-64 carries."""
GLIBC_WITH_GLIBCXX = {25: 28, 28: 31, 29: 34, 30: 35, 32: 38, 33: 39}
"""The glibc 2.G of the first distributions whose libstdc++ has the symbols of version 3.4.N."""


def ready_made() -> Path | None:
    """The wheel's library for the instruction set in force, None where it has none that fits.

    Other sources or flags (`SPIKEGRAD_CXXFLAGS`) than those of the wheel fit none of its libraries.

    Raises UserError for a set that `SPIKEGRAD_ISA` names and this CPU does not have.
    """
    if not FOLDER.is_dir():
        return None
    path = FOLDER / file_name(in_force().name)
    return path if path.is_file() else None


def make(folder: Path) -> list[Path]:
    """Compile every set that a wheel carries into a folder, which then holds no other library.

    Its file `tag` says on which systems they run. Raises BuildError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [folder / file_name(name) for name in SETS]
    for old in set(folder.glob("kernels-*")) - set(wanted):
        old.unlink()
    for name, path in zip(SETS, wanted, strict=True):
        if not path.exists():
            compile_into(path, alone(name), portable=True)
    (folder / "tag").write_text(platform_tag(wanted), encoding="utf-8")
    return wanted


def platform_tag(libraries: list[Path]) -> str:
    """`manylinux_2_G_ARCHITECTURE`: the oldest glibc whose systems have every symbol needed."""
    needed = 0
    for library in libraries:
        command = ["objdump", "-p", str(library)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        needed = max(needed, glibc_of(done.stdout))
    return f"manylinux_2_{needed}_{platform.machine()}"


def glibc_of(headers: str) -> int:
    """G of the oldest glibc 2.G that can load a library, from what `objdump -p` prints of it.

    >>> glibc_of("GLIBC_2.2.5 GLIBC_2.32 GLIBCXX_3.4.29")
    34
    """
    libc = [int(minor) for minor in re.findall(r"\bGLIBC_2\.(\d+)", headers)]
    stdcxx = max((int(n) for n in re.findall(r"\bGLIBCXX_3\.4\.(\d+)", headers)), default=0)
    return max(*libc, min(g for n, g in GLIBC_WITH_GLIBCXX.items() if n >= stdcxx))


def file_name(name: str) -> str:
    """Of the sources and flags too: a library never runs beside other sources than its own."""
    digest = hashlib.sha256(sources_digest())
    for flag in [*flags_of(alone(name), portable=True), *target_flags(alone(name))]:
        digest.update(b"\0" + flag.encode())
    return f"kernels-{name}-{digest.hexdigest()[:20]}{library_suffix()}"


def alone(name: str) -> InstructionSet:
    """A set without anything else that this CPU has."""
    return InstructionSet(name, False, "for a wheel")
