"""Generated Triton modules: files in the cache, since Triton reads a kernel's source from one."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from spikegrad.errors import message
from spikegrad.kernels.cpu.build import BuildError, cache_folder

__all__ = ["folder", "generated", "installed", "interpreting", "why_missing"]

OLDEST = (3, 4)


@cache
def installed() -> str:
    """The version of Triton, "" where there is none."""
    try:
        return version("triton")
    except PackageNotFoundError:
        return ""


@cache
def why_missing() -> str:
    """Why Triton cannot be used in this process, or ""."""
    found = installed()
    if not found:
        return "Triton is not installed (pip install 'spikegrad[gpu]')"
    if tuple(int(part) for part in found.split(".")[:2] if part.isdigit()) < OLDEST:
        return f"Triton {found} is older than 3.4; upgrade it"
    try:
        import triton.language  # noqa: F401
    except Exception as error:  # it looks for a driver and a compiler of its own
        return f"Triton {found} cannot be imported: {error}"
    return ""


@cache
def interpreting() -> bool:
    """Whether kernels run in Triton's interpreter, on CPU tensors: decided when it is imported."""
    from triton import knobs

    return bool(knobs.runtime.interpret)


def folder() -> Path:
    """Where generated modules and verdicts are kept, in the cache of the native kernels."""
    return cache_folder() / "triton"


@cache
def generated(text: str) -> ModuleType:
    """The module of a generated program, with its kernels `forward` and `backward`.

    Raises BuildError without a writable cache.
    """
    name = f"step_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    path = folder() / f"{name}.py"
    try:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            put(path, text)
    except OSError as error:
        raise BuildError(
            message(
                f"expected to write the kernel cache {path.parent}",
                str(error.strerror or error),
                "set SPIKEGRAD_CACHE to a writable folder",
            )
        ) from None
    spec = importlib.util.spec_from_file_location(f"spikegrad_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if interpreting():
        from spikegrad.kernels.triton.interpreted import library

        module.libdevice = library()  # type: ignore[attr-defined]
    return module


def put(path: Path, text: str) -> None:
    """Write a file as a whole, whoever else writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix="new-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(name, path)
