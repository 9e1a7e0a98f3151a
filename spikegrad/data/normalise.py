"""Standardisation by one mean and one standard deviation for the whole data set."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from spikegrad.data.dataset import Split
from spikegrad.errors import UserError, message
from spikegrad.ragged import mask_of

__all__ = ["standardise", "statistics"]

_CHUNK = 4096  # samples at a time: float64 copies of a whole set would not fit everywhere


def statistics(split: Split) -> tuple[float, float]:
    """Mean and standard deviation of all scaled values of a part: two numbers, no axis kept; what
    stands behind the end of a sequence does not count.

    Bytes are counted, so the result is exact; floats are summed in float64, in two passes.

    Args:
        split: the training part; the test part must be given the same two numbers.

    Returns:
        (mean, std), population form, in units of the scaled values.

    >>> statistics(Split(torch.tensor([[0, 255]], dtype=torch.uint8), torch.tensor([0])))
    (0.5, 0.5)
    """
    if split.x.dtype == torch.uint8:
        counts = torch.zeros(256, dtype=torch.float64)
        for chunk in real_values(split):
            counts += torch.bincount(chunk.flatten().long(), minlength=256).cpu()
        values = torch.arange(256, dtype=torch.float64) / split.divisor
        mean = float((counts * values).sum() / counts.sum())
        variance = float((counts * (values - mean) ** 2).sum() / counts.sum())
        return mean, math.sqrt(variance)
    total = sum(float(chunk.sum(dtype=torch.float64)) for chunk in real_values(split))
    count = sum(chunk.numel() for chunk in real_values(split))
    mean = total / count
    squares = sum(float(((chunk.double() - mean) ** 2).sum()) for chunk in real_values(split))
    std = math.sqrt(squares / count)
    return mean / split.divisor, std / split.divisor


def real_values(split: Split) -> Iterator[torch.Tensor]:
    """The values of a part, some samples at a time, without padding."""
    if split.lengths is None:
        yield from split.x.split(_CHUNK)
        return
    for x, lengths in zip(split.x.split(_CHUNK), split.lengths.split(_CHUNK), strict=True):
        yield x[mask_of(lengths, x.shape[1]).T.to(x.device)]


def standardise(x: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """Return `(x - mean) / std`.

    Args:
        x: scaled values, float, any shape.
        mean, std: as `statistics` of the training part gives them.

    Raises:
        UserError: `std` is not a positive number (all values of the set are equal).

    >>> standardise(torch.tensor([0.0, 1.0]), 0.5, 0.5).tolist()
    [-1.0, 1.0]
    """
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0.0):
        got = f"mean {mean:g}, std {std:g}"
        remedy = "data whose values are all equal cannot be standardised"
        raise UserError(message("expected a finite mean and std > 0", got, remedy))
    return (x - mean) / std
