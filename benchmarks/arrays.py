"""The arrays of a workload as workers read them; no torch, which not every peer has beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

__all__ = ["Arrays", "read", "scaled"]

Arrays = dict[str, np.ndarray]


def read(path: str | os.PathLike[str], convention: str) -> Arrays:
    """Input, labels and weights of a file that `make` wrote, scaled for a convention."""
    with np.load(path) as data:
        arrays = {k: data[k] for k in data.files if not k.startswith(("spikes_", "factors_"))}
        return scaled(arrays, data[f"factors_{convention}"].tolist())


def scaled(arrays: Arrays, factors: Sequence[float]) -> Arrays:
    """The arrays with connection i times factor i; without connections, x times the first."""
    found = dict(arrays)
    for i, factor in enumerate(factors):
        for key in (f"w{i}", f"b{i}") if "w0" in arrays else ("x",):
            found[key] = (arrays[key] * np.float32(factor)).astype(np.float32)
    return found
