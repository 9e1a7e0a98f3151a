"""Building the CPU kernels: once per source, flags, compiler, CPU and torch, then cached.

The sources ship with the package. A build takes a lock of its own (`fcntl`, released by the system
when a process dies), compiles in a temporary folder and moves the finished library into the cache
with `os.replace`, so a cache holds whole libraries only, however many processes start at once and
whenever one is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from spikegrad.kernels.cpu.compiler import (
    BuildError,
    compile_file,
    compiler_version,
    flags_of,
    library_suffix,
    link,
    target_flags,
)
from spikegrad.kernels.cpu.instructions import InstructionSet, in_force
from spikegrad.kernels.cpu.processor import described

__all__ = ["BuildError", "build", "cache_folder", "compile_into", "library_path", "sources_digest"]

SOURCES = Path(__file__).parent / "src"


def cache_folder() -> Path:
    """Where built libraries are kept: `SPIKEGRAD_CACHE`, or the user's cache folder."""
    named = os.environ.get("SPIKEGRAD_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "spikegrad"


def library_path() -> Path:
    """The cached library for these sources, instruction set, compiler, CPU and torch.

    Raises UserError for a set that `SPIKEGRAD_ISA` names and this CPU does not have.
    """
    chosen = in_force()
    digest = hashlib.sha256(sources_digest())
    for part in [
        *flags_of(chosen),
        *target_flags(chosen),
        compiler_version(),
        described() if chosen.native else "",  # else nothing in the library depends on the CPU
        torch.__version__,
        platform.platform(),
    ]:
        digest.update(b"\0" + part.encode())
    name = f"kernels-{chosen.name}-{digest.hexdigest()[:20]}{library_suffix()}"
    return cache_folder() / name


def sources_digest() -> bytes:
    """A digest of every source's place below `src` and content."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*")):
        if path.is_file():
            text = path.read_bytes()
            digest.update(f"{path.relative_to(SOURCES).as_posix()}\0{len(text)}\0".encode() + text)
    return digest.digest()


def build(*, force: bool = False) -> Path:
    """Build the library unless the cache has it; return its path.

    Raises BuildError without a compiler, when compiling fails, or without a writable folder.
    """
    path = library_path()
    if path.exists() and not force:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            if force or not path.exists():
                compile_into(path, in_force())
    except OSError as error:
        raise BuildError(
            f"cannot write the kernel cache {path.parent}: {error.strerror or error}; "
            "set SPIKEGRAD_CACHE to a writable folder"
        ) from None
    return path


def compile_into(path: Path, chosen: InstructionSet, *, portable: bool = False) -> None:
    """Compile every source, two at a time, link, and put the library in place at once.

    portable: for other machines and releases of torch.
    Raises BuildError when compiling fails, and where somebody changes the sources meanwhile.
    """
    digest = sources_digest()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as folder:
        # Every file needs torch's headers, half of what a small one takes: they are compiled once.
        header = Path(folder) / "first.h"
        header.write_text('#include "common.h"\n', encoding="utf-8")
        compile_file(header, Path(f"{header}.gch"), chosen, SOURCES, portable=portable)
        sources = sorted(SOURCES.rglob("*.cpp"))
        objects = [
            Path(folder) / f"{number}-{source.stem}.o" for number, source in enumerate(sources)
        ]

        def one(pair: tuple[Path, Path]) -> None:
            compile_file(*pair, chosen, SOURCES, header=header, portable=portable)

        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(one, zip(sources, objects, strict=True)))
        linked = Path(folder) / path.name
        link(objects, linked, portable=portable)
        if sources_digest() != digest:
            raise BuildError("the kernels' sources changed while they were compiled; build again")
        os.replace(linked, path)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the system lets go of it when the process ends."""
    try:
        import fcntl
    except ImportError:
        raise BuildError("building needs a POSIX system (no fcntl here)") from None
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
