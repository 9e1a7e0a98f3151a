"""Random numbers that are a pure function of a few integers, on every machine and for ever.

NumPy promises that `SeedSequence` and the raw 64-bit output of `PCG64` do not change between
releases; it does not promise that for `Generator.permutation` or `Generator.random`. What a data
split or a batch order is made of is therefore derived from the raw output here.
"""

from __future__ import annotations

import operator

import numpy as np
import torch

from spikegrad.errors import UserError, message

__all__ = ["check_seed", "permutation", "raw", "torch_generator", "uniform"]


def check_seed(seed: int) -> int:
    """Return `seed` as an int; it must be an integer >= 0.

    >>> check_seed(3)
    3
    """
    try:
        number = operator.index(seed)
    except TypeError:
        raise TypeError(message("expected seed as an integer", f"{seed!r}")) from None
    if number < 0:
        raise UserError(message("expected seed >= 0", str(number)))
    return number


def raw(size: int, *words: int) -> np.ndarray:
    """Draw `size` raw numbers of 64 bits, uint64 `[size]`, from the stream that `words` name.

    >>> raw(2, 0, 1).tolist() == raw(2, 0, 1).tolist() != raw(2, 0, 2).tolist()
    True
    """
    bits = np.random.PCG64(np.random.SeedSequence([check_seed(w) for w in words]))
    return np.asarray(bits.random_raw(size), dtype=np.uint64)


def uniform(shape: tuple[int, ...], *words: int) -> np.ndarray:
    """Draw numbers in [0, 1), float64 `shape`: the upper 53 bits of `raw` over 2^53.

    >>> bool((uniform((100,), 7) < 1.0).all())
    True
    """
    count = int(np.prod(shape))
    return ((raw(count, *words) >> np.uint64(11)) * 2.0**-53).reshape(shape)


def permutation(n: int, *words: int) -> np.ndarray:
    """Permute 0..n-1, int64 `[n]`: the order of `n` raw numbers.

    >>> sorted(permutation(5, 0).tolist())
    [0, 1, 2, 3, 4]
    """
    return np.argsort(raw(n, *words), kind="stable")


def torch_generator(*words: int) -> torch.Generator:
    """A CPU `torch.Generator` seeded with the hash of `words`.

    >>> a, b = torch_generator(1, 2), torch_generator(1, 2)
    >>> bool(torch.equal(torch.rand(3, generator=a), torch.rand(3, generator=b)))
    True
    """
    generator = torch.Generator()
    return generator.manual_seed(int(raw(1, *words)[0] >> np.uint64(1)))
