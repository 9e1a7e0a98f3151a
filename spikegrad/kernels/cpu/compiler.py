"""The C++ compiler: which one, with which flags for an instruction set and a system."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
from pathlib import Path

import torch

from spikegrad.kernels.cpu.instructions import InstructionSet
from spikegrad.kernels.cpu.processor import architecture

__all__ = [
    "BuildError",
    "compile_alone",
    "compile_file",
    "compiler_version",
    "flags_of",
    "library_suffix",
    "link",
    "target_flags",
]

FLAGS = [
    "-std=c++20",
    "-O3",
    "-ffp-contract=off",  # multiply, then add, each rounded: bit for bit the reference's results
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-fvisibility=hidden",
    "-Werror=switch",  # a surrogate family, or a reset, that a switch leaves out
]
PORTABLE = "-DTORCH_TARGET_VERSION=0x020a000000000000"
"""Nothing that came after torch 2.10, so that every later one can load what was compiled."""
LEVELS = {
    ("x86_64", "avx512"): "-march=x86-64-v4",
    ("x86_64", "avx2"): "-march=x86-64-v3",
    ("x86_64", "generic"): "-march=x86-64",
    ("aarch64", "neon"): "-march=armv8-a",
    ("aarch64", "generic"): "-march=armv8-a",
}
"""What a compiler is told where it may not use all that this CPU has."""


class BuildError(RuntimeError):
    """The kernels cannot be built or loaded here; the message says why and what would help."""


def library_suffix() -> str:
    """`.so`, or `.dylib` on macOS."""
    return ".dylib" if platform.system() == "Darwin" else ".so"


def flags_of(chosen: InstructionSet, *, portable: bool = False) -> list[str]:
    """All that decides what is compiled besides the target: one define names the set.

    portable: for other releases of torch too.
    """
    torch_flags = [PORTABLE] if portable else []
    return [*FLAGS, *torch_flags, f"-DSPIKEGRAD_SIMD_{chosen.name.upper()}", *more_flags()]


def target_flags(chosen: InstructionSet) -> list[str]:
    """Flags that name the CPU, of which a compiler gets the first one that it accepts, or none."""
    if not chosen.native:
        level = LEVELS.get((architecture(), chosen.name))
        return [level] if level else []
    if architecture() == "x86_64":
        return ["-march=native"]
    if platform.system() == "Darwin":  # where clang learned "native" late, and gcc not yet
        return ["-mcpu=native", "-mcpu=apple-m1"]
    return ["-mcpu=native", "-march=native"]


def more_flags() -> list[str]:
    """What `SPIKEGRAD_CXXFLAGS` adds for compiler and linker, a sanitizer for example."""
    return shlex.split(os.environ.get("SPIKEGRAD_CXXFLAGS", ""))


def compile_file(
    source: Path,
    to: Path,
    chosen: InstructionSet,
    sources: Path,
    *,
    header: Path | None = None,
    portable: bool = False,
) -> None:
    """Compile one file for an instruction set, a header to what `header=` may name afterwards.

    sources: the folder that includes start from. header: read before the file; where the same
    compiler has compiled it to `header.gch` beside it, with the same flags, that is taken.
    """
    kind = ["-x", "c++-header"] if source.suffix == ".h" else ["-c"]
    before = ["-include", str(header)] if header else []
    headers = [f"-I{sources}", f"-isystem{Path(torch.__file__).parent / 'include'}"]
    run(
        [
            compiler(),
            *flags_of(chosen, portable=portable),
            *accepted(chosen),
            *headers,
            *before,
            *kind,
            str(source),
            "-o",
            str(to),
        ]
    )


def link(objects: list[Path], to: Path, *, portable: bool = False) -> None:
    """Make a library that knows where this torch is; a portable one relies on a torch in memory."""
    libraries = Path(torch.__file__).parent / "lib"
    place = ["-Wl,--strip-all"] if portable else [f"-Wl,-rpath,{libraries}"]
    run(
        [
            compiler(),
            *more_flags(),
            "-shared",
            *map(str, objects),
            "-o",
            str(to),
            f"-L{libraries}",
            *place,
            "-ltorch",
            "-ltorch_cpu",
        ]
    )


def compile_alone(
    source: Path, to: Path, chosen: InstructionSet, sources: Path, *, header: Path | None = None
) -> None:
    """Make a library of one file that needs nothing of torch, or compile a header; header: as of
    `compile_file`.
    """
    kind = ["-x", "c++-header"] if source.suffix == ".h" else ["-shared"]
    before = ["-include", str(header)] if header else []
    run(
        [
            compiler(),
            *flags_of(chosen),
            *accepted(chosen),
            f"-I{sources}",
            *before,
            *kind,
            str(source),
            "-o",
            str(to),
        ]
    )


def accepted(chosen: InstructionSet) -> list[str]:
    """The first flag for the CPU that the compiler accepts; a single one is not tried first."""
    flags = target_flags(chosen)
    if len(flags) == 1:
        return flags
    for flag in flags:
        try:
            run([compiler(), flag, "-x", "c++", "-fsyntax-only", os.devnull])
        except BuildError:
            continue
        return [flag]
    return []


def run(command: list[str]) -> None:
    """Run a compiler, or say what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"cannot run {command[0]}: {error.strerror or error}") from None
    if done.returncode != 0:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
        said = first.strip()[:300] or f"exit status {done.returncode} and no message"
        remedy = "; set CXX to a C++ compiler that works" if os.environ.get("CXX") else ""
        raise BuildError(f"{command[0]} failed: {said}{remedy}")


def compiler() -> str:
    """The C++ compiler: `CXX`, or g++, c++ or clang++."""
    named = os.environ.get("CXX")
    for name in [named] if named else ["g++", "c++", "clang++"]:
        found = shutil.which(name)
        if found:
            return found
    raise BuildError(
        f"no C++ compiler ({named or 'g++, c++ or clang++'}); install one, "
        "for example with apt-get install g++"
    )


def compiler_version() -> str:
    """The compiler's own words about its version."""
    command = [compiler(), "--version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"cannot run {command[0]}: {error}") from None
    return done.stdout
