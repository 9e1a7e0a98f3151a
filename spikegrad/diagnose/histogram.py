"""How often a figure takes which values: a histogram as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Histogram", "histogram"]

BINS = 120
MOST = 200_000
"""Values that are looked at, at equal distances, where there are more."""
TAIL = 0.002
"""The share at either end that may lie outside of the bins, so that a few do not flatten all."""


@dataclass(frozen=True)
class Histogram:
    """Counts of values in bins of one width.

    low, high: where the first bin begins and the last one ends; counts: one a bin; below, above:
    how many values lie outside.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    below: int
    above: int

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        return {**vars(self), "counts": list(self.counts)}


def histogram(values: Tensor, bins: int = BINS) -> Histogram | None:
    """The histogram of finite values, whose bins reach over 0; None where there is none.

    >>> found = histogram(torch.tensor([-1.0, -0.5, 0.5, 1.0]), bins=2)
    >>> found.low, found.high, found.counts, found.below + found.above
    (-1.0, 1.0, (2, 2), 0)
    """
    flat = values.detach().flatten()
    flat = flat[:: 1 + len(flat) // MOST].double()
    flat = flat[torch.isfinite(flat)].cpu()
    if not len(flat):
        return None
    ordered = flat.sort().values
    skipped = int(TAIL * len(flat))
    low, high = float(ordered[skipped]), float(ordered[-1 - skipped])
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    counts = torch.histc(flat, bins, low, high).long().tolist()
    below, above = int((flat < low).sum()), int((flat > high).sum())
    return Histogram(low, high, tuple(counts), below, above)
