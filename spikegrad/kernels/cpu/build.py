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
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

__all__ = ["BuildError", "build", "cache_folder", "crossover_path", "library_path"]

SOURCES = Path(__file__).parent / "src"
FLAGS = [
    "-std=c++20",
    "-O3",
    "-march=native",
    "-ffp-contract=off",  # multiply, then add, each rounded: bit for bit the reference's results
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-fvisibility=hidden",
]


class BuildError(RuntimeError):
    """The kernels cannot be built or loaded here; the message says why and what would help."""


def cache_folder() -> Path:
    """Where built libraries are kept: `SPIKEGRAD_CACHE`, or the user's cache folder."""
    named = os.environ.get("SPIKEGRAD_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "spikegrad"


def library_path() -> Path:
    """The cached library for these sources, this compiler, this CPU and this torch."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    for part in [
        *FLAGS,
        *more_flags(),
        compiler_version(),
        cpu_name(),
        torch.__version__,
        platform.platform(),
    ]:
        digest.update(b"\0" + part.encode())
    return cache_folder() / f"kernels-{digest.hexdigest()[:20]}.so"


def crossover_path() -> Path:
    """Where this library's crossover table is kept once it was measured."""
    return library_path().with_suffix(".json")


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
                compile_into(path)
    except OSError as error:
        raise BuildError(
            f"cannot write the kernel cache {path.parent}: {error.strerror or error}; "
            "set SPIKEGRAD_CACHE to a writable folder"
        ) from None
    return path


def compile_into(path: Path) -> None:
    """Compile every source, two at a time, link, and put the library in place at once."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as folder:
        sources = sorted(SOURCES.glob("*.cpp"))
        objects = [Path(folder) / f"{source.stem}.o" for source in sources]

        def one(pair: tuple[Path, Path]) -> None:
            source, to = map(str, pair)
            run([compiler(), *FLAGS, *more_flags(), *includes(), "-c", source, "-o", to])

        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(one, zip(sources, objects, strict=True)))
        linked = Path(folder) / "kernels.so"
        libraries = Path(torch.__file__).parent / "lib"
        run(
            [
                compiler(),
                *more_flags(),
                "-shared",
                *map(str, objects),
                "-o",
                str(linked),
                f"-L{libraries}",
                f"-Wl,-rpath,{libraries}",
                "-ltorch",
                "-ltorch_cpu",
            ]
        )
        os.replace(linked, path)


def more_flags() -> list[str]:
    """What `SPIKEGRAD_CXXFLAGS` adds for compiler and linker, a sanitizer for example."""
    return shlex.split(os.environ.get("SPIKEGRAD_CXXFLAGS", ""))


def run(command: list[str]) -> None:
    """Run a compiler, or say what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"cannot run {command[0]}: {error.strerror or error}") from None
    if done.returncode != 0:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
        raise BuildError(f"{command[0]} failed: {first.strip()[:300] or 'without a word'}")


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


def cpu_name() -> str:
    """What the library is built for: the model of CPU and its instruction sets."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kept = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
        return "\n".join(sorted(kept))
    return platform.processor() or platform.machine()


def includes() -> list[str]:
    """torch's headers."""
    folder = Path(torch.__file__).parent / "include"
    return [f"-I{folder}"]


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
