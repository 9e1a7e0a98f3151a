"""Tiny data sets in the real IDX format."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikegrad.data.mnist import FILES, IdxSet


def idx_bytes(values: np.ndarray) -> bytes:
    """An IDX file by the definition of the format, written without the package's reader."""
    head = bytes([0, 0, 8, values.ndim])
    head += b"".join(int(n).to_bytes(4, "big") for n in values.shape)
    return head + values.astype(np.uint8).tobytes()


@pytest.fixture
def tiny() -> dict[str, bytes]:
    """Four files, {name: unpacked bytes}: 12 + 6 images of 3x4, labels 0..9."""
    rng = np.random.default_rng(0)
    made = {}
    for part, n in (("train", 12), ("t10k", 6)):
        images = rng.integers(0, 256, (n, 3, 4))
        made[f"{part}-images-idx3-ubyte"] = idx_bytes(images)
        made[f"{part}-labels-idx1-ubyte"] = idx_bytes(np.arange(n) % 10)
    return made


@pytest.fixture
def known() -> Callable[..., IdxSet]:
    """Make an `IdxSet` that knows the checksums of the given files."""

    def make(files: dict[str, bytes], mirrors: tuple[str, ...] = ()) -> IdxSet:
        digests = tuple(hashlib.sha256(files[file]).hexdigest() for file in FILES)
        names = tuple(str(c) for c in range(10))
        return IdxSet("tiny", "Tiny", digests, mirrors, names, "nobody", "none")

    return make


@pytest.fixture
def put() -> Callable[..., Path]:
    """Write files to a folder, gzipped or not."""

    def write(files: dict[str, bytes], folder: Path, *, packed: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)
        return folder

    return write


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without data: no SPIKEGRAD_DATA, an empty cache; returns the cache's folder."""
    monkeypatch.delenv("SPIKEGRAD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "spikegrad"
