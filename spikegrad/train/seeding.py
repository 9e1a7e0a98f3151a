"""Random numbers that follow from the seed and the position in the run, and from nothing else.

Every step starts from a state derived from (seed, purpose, position), so a run that is killed and
resumed draws the same numbers as one that is not, whenever its checkpoints were written.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["BUILD", "EPOCH", "EVALUATE", "FETCH", "STEP", "derive", "kept", "seed_all"]

BUILD, EPOCH, FETCH, STEP, EVALUATE = range(5)
"""What the random numbers are for: each purpose has a stream of its own."""


def derive(*words: int) -> int:
    """A number of 63 bits that depends on all the words.

    >>> derive(0, 1) == derive(0, 1) != derive(1, 0)
    True
    """
    digest = hashlib.blake2b(struct.pack(f"<{len(words)}q", *words), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_all(*words: int) -> None:
    """Start torch's, Python's and NumPy's generators from these words.

    >>> seed_all(0, STEP, 7); a = torch.rand(1)
    >>> seed_all(0, STEP, 7); bool(a == torch.rand(1))
    True
    """
    number = derive(*words)
    # Not torch.manual_seed: where CUDA is not in use it formats a stack trace, 0.5 ms a time.
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)


def states() -> dict[str, Any]:
    """Every random state, as tensors and plain numbers."""
    kind, keys, position, has, cached = np.random.get_state(legacy=True)
    version, numbers, gauss = random.getstate()
    found: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, list(numbers), gauss],
        "numpy": [str(kind), [int(k) for k in keys], int(position), int(has), float(cached)],
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state_all()
    return found


def restore(found: dict[str, Any]) -> None:
    """Put back what `states` returned."""
    torch.set_rng_state(found["torch"])
    version, numbers, gauss = found["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has, cached = found["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has, cached))
    if "cuda" in found and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(found["cuda"])


@contextmanager
def kept() -> Iterator[None]:
    """Leave the caller's random states as they were.

    >>> before = torch.get_rng_state()
    >>> with kept(): seed_all(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    before = states()
    try:
        yield
    finally:
        restore(before)
