"""Libraries of one generated program each: compiled on first use, then taken from the cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import tempfile
from functools import cache, lru_cache
from pathlib import Path

import torch

from spikegrad.kernels.cpu.build import SOURCES, cache_folder, locked
from spikegrad.kernels.cpu.compiler import (
    BuildError,
    compile_alone,
    compiler_version,
    flags_of,
    library_suffix,
    target_flags,
)
from spikegrad.kernels.cpu.instructions import LANE_BYTES, InstructionSet, in_force
from spikegrad.kernels.cpu.processor import described
from spikegrad.kernels.cpu.ready_made import ready_made_steps
from spikegrad.kernels.emit import Program

__all__ = ["INCLUDES", "PROGRAMS", "define", "enter", "lanes", "loaded"]


INCLUDES = '#include "simd/functions.h"\n#include "step.h"\n'
"""What programs include."""
PROGRAMS: dict[int, Program] = {}
"""Those that are loaded, by their keys: what a trace asks for shapes."""


def loaded(name: str, program: Program) -> int:
    """The key of a generated program in the operators' table; compiles it unless the cache has it.

    name: the neuron's, for the line that says that it is compiled. A library stays loaded for as
    long as the process, and what cannot be compiled is not tried again. Raises BuildError without a
    compiler, when compiling fails, or without a writable cache.
    """
    found = key_or_error(name, program)
    if isinstance(found, BuildError):
        raise found
    return found


@cache
def key_or_error(name: str, program: Program) -> int | BuildError:
    """`loaded`, or why not."""
    try:
        return load(name, program)
    except BuildError as error:
        return error
    except (OSError, AttributeError) as error:
        return BuildError(f"cannot load a compiled neuron: {error}; empty the kernel cache")


def load(name: str, program: Program) -> int:
    """Find or build a program, and register it."""
    key, text = program.key, program.text
    functions = ready(key)
    if functions is None:
        library = ctypes.CDLL(str(built(name, text, in_force())))
        functions = addresses(library, "")
    enter(key, program, functions)
    return key


def enter(key: int, program: Program, functions: tuple[int, int]) -> None:
    """Tell the operators of a program."""
    numbers = table(program, functions)
    torch.ops.spikegrad.step_register(key, [int(number) for number in numbers.values()])
    PROGRAMS[key] = program


def table(program: Program, functions: tuple[int, int]) -> dict[str, int]:
    """What the operators know of a program: the fields of `Program` in src/programs.h, in order."""
    forward, backward = functions
    return {
        "forward": forward,
        "backward": backward,
        "states": len(program.states),
        "smooth": len(program.smooth),
        "parameters": len(program.parameters),
        "learned": len(program.learned),
        "reals": program.reals,
        "masks": program.masks,
        "inputs": program.inputs,
        "outputs": program.outputs,
        "noise": program.noise,
        "reads_input": program.reads_input,
        "spikes": program.spikes,
        "support": program.support,
        "within": program.within,
        "reads_spikes": "spikes" in program.given,
        "reads_support": "support" in program.given,
        "each": program.each,
        "wide": program.double,
        "lanes": lanes(program.double),
        "block": program.block,
    }


def lanes(double: bool) -> int:
    """Of a vector of the set that is in force."""
    return LANE_BYTES[in_force().name] // (8 if double else 4)


def define(key: int) -> str:
    """The line before a program's text that names its functions after its key."""
    return f"#define SPIKEGRAD_STEP_KEY _{key}\n"


def ready(key: int) -> tuple[int, int] | None:
    """A program's functions among those that the wheel carries."""
    library = ready_library()
    if library is None or not hasattr(library, f"spikegrad_step_forward_{key}"):
        return None
    return addresses(library, f"_{key}")


@cache
def ready_library() -> ctypes.CDLL | None:
    """The wheel's programs, None where it has none that fit and can be loaded."""
    path = ready_made_steps()
    try:
        return None if path is None else ctypes.CDLL(str(path))
    except OSError:
        return None


def addresses(library: ctypes.CDLL, suffix: str) -> tuple[int, int]:
    """Of the forward and the backward function."""

    def address(function: str) -> int:
        return int(ctypes.cast(getattr(library, function + suffix), ctypes.c_void_p).value or 0)

    return address("spikegrad_step_forward"), address("spikegrad_step_backward")


def built(name: str, text: str, chosen: InstructionSet) -> Path:
    """The library of a program in the cache."""
    path = cache_folder() / "steps" / f"{digest(text, chosen)}{library_suffix()}"
    if is_whole(path):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            if not is_whole(path):
                again = ": the one in the cache is damaged" if path.exists() else ", once"
                sys.stderr.write(f"spikegrad: compiling {name} for {chosen.name}{again}\n")
                compile_into(path, text, chosen)
    except OSError as error:
        raise BuildError(
            f"cannot write the kernel cache {path.parent}: {error.strerror or error}; "
            "set SPIKEGRAD_CACHE to a writable folder"
        ) from None
    return path


def is_whole(path: Path) -> bool:
    """Whether a library is there and has the content that was compiled: to load one that was cut
    off (a full disk, a copied cache) ends the process.
    """
    try:
        wanted = sum_of(path).read_text(encoding="ascii")
        return hashlib.sha256(path.read_bytes()).hexdigest() == wanted
    except (OSError, ValueError):
        return False


def sum_of(path: Path) -> Path:
    """The file that has the digest of a library's content."""
    return path.with_suffix(".sha256")


def compile_into(path: Path, text: str, chosen: InstructionSet) -> None:
    """Compile in a folder of its own, then put the library in place at once."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as folder:
        source, made = Path(folder) / "step.cpp", Path(folder) / path.name
        source.write_text(text, encoding="utf-8")
        header = compiled_header(path.parent, chosen)
        try:
            compile_alone(source, made, chosen, SOURCES, header=header)
        except BuildError:
            if header is None:
                raise
            # clang++ refuses a compiled header when a file behind it has moved; g++ ignores it.
            compiled_form(header).unlink(missing_ok=True)
            compile_alone(source, made, chosen, SOURCES)
        content = hashlib.sha256(made.read_bytes()).hexdigest()
        sum_of(made).write_text(content, encoding="ascii")
        os.replace(sum_of(made), sum_of(path))
        os.replace(made, path)


def compiled_header(folder: Path, chosen: InstructionSet) -> Path | None:
    """What every program includes, compiled: four fifths of the time that a program takes alone.

    None where it cannot be made: programs then include it as it is.
    """
    name = digest("", chosen)
    header = folder / f"{name}.h"
    compiled = compiled_form(header)
    if not compiled.exists():
        with locked(header.with_suffix(".lock")), tempfile.TemporaryDirectory(dir=folder) as aside:
            made = Path(aside) / header.name
            made.write_text(INCLUDES, encoding="utf-8")
            os.replace(made, header)  # before it is compiled: clang++ writes down where it was
            try:
                compile_alone(header, Path(aside) / compiled.name, chosen, SOURCES)
            except BuildError:
                return None
            os.replace(Path(aside) / compiled.name, compiled)
    return header


def compiled_form(header: Path) -> Path:
    """Where compilers look for the compiled form of a header."""
    return Path(f"{header}.gch")


def digest(text: str, chosen: InstructionSet) -> str:
    """What tells a library from others: program, headers, flags, compiler, CPU."""
    found = hashlib.sha256(headers())
    for part in [
        text,
        *flags_of(chosen),
        *target_flags(chosen),
        version(),
        described() if chosen.native else "",
    ]:
        found.update(b"\0" + part.encode())
    return f"{chosen.name}-{found.hexdigest()[:24]}"


@lru_cache(maxsize=1)
def version() -> str:
    """The compiler's own words, once a process."""
    return compiler_version()


@lru_cache(maxsize=1)
def headers() -> bytes:
    """A digest of what a program includes."""
    found = hashlib.sha256()
    for path in [SOURCES / "step.h", *sorted((SOURCES / "simd").iterdir())]:
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.digest()
