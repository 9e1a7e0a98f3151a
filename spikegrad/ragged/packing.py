"""How a batch of sequences of different length lies in rows.

The rows of step t are those of the samples that have a step t, the longest sample first; step
follows step. So at every step the samples that have not ended are the first ones, and neither a
row nor an operation is spent on padding. torch calls this a packed sequence.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Packing", "Segment"]


class Segment(NamedTuple):
    """Steps [first, last) in which the same `alive` samples run; row: where theirs begin."""

    first: int
    last: int
    alive: int
    row: int

    @property
    def steps(self) -> int:
        """How many steps."""
        return self.last - self.first

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.row, self.row + self.steps * self.alive)


class Packing:
    """The rows of one batch: `Packing(lengths, steps)`.

    lengths: int64 `[B]` on the CPU, checked, in the order of the batch; 0 for a sample that has
    ended before; steps: T of the padded batch. The samples that have steps, `active` of them, run
    in the order `order`, longest first.

    >>> p = Packing(torch.tensor([1, 3, 2]), steps=4)
    >>> p.order.tolist(), p.starts.tolist(), p.index.tolist()
    ([1, 2, 0], [0, 3, 5, 6], [1, 2, 0, 4, 5, 7])
    """

    def __init__(self, lengths: Tensor, steps: int) -> None:
        self.lengths, self.steps = lengths, steps
        self.batch = len(lengths)
        # NumPy: an operation on so few numbers takes it a tenth of torch's time. By tolist, which
        # works within torch.func too.
        own = np.array(lengths.tolist(), dtype=np.int64)
        self.active = int(np.count_nonzero(own))
        self._order = np.argsort(-own, kind="stable")[: self.active]
        self.order, self.sorted = torch.from_numpy(self._order), own[self._order].tolist()
        self.longest = self.sorted[0] if self.active else 0

    def of_stretch(self, samples: int, steps: int) -> Packing:
        """Of so many steps in which the first `samples` run, in the order in which they run here.

        >>> part = Packing(torch.tensor([1, 3, 2]), steps=4).of_stretch(samples=2, steps=1)
        >>> part.lengths.tolist(), part.order.tolist(), part.index.tolist()
        ([0, 1, 1], [1, 2], [1, 2])
        """
        lengths = torch.zeros_like(self.lengths)
        lengths[self.order[:samples]] = steps
        made = Packing(lengths, steps)
        made._order, made.order = self._order[:samples], self.order[:samples]
        return made

    @cached_property
    def alive(self) -> np.ndarray:
        """int64 `[longest]`: how many samples have a step."""
        ended = np.searchsorted(self.sorted[::-1], np.arange(self.longest), side="right")
        return self.active - ended

    @cached_property
    def starts(self) -> Tensor:
        """int64 `[longest + 1]`: the first row of every step, and the number of rows."""
        return torch.from_numpy(np.array(self.first_rows, dtype=np.int64))

    @cached_property
    def first_rows(self) -> list[int]:
        """`starts` as numbers."""
        return [0, *self.alive.cumsum().tolist()]

    @cached_property
    def rows(self) -> int:
        """The number of rows: all lengths added up."""
        return sum(self.sorted)

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """Of every row its step, and its sample in the order of the batch."""
        step = np.repeat(np.arange(self.longest), self.alive)
        return torch.from_numpy(step), self.order.index_select(0, self.runs)

    @cached_property
    def runs(self) -> Tensor:
        """Of every row which sample it is of, as they run."""
        first = np.repeat(np.array(self.first_rows[:-1], dtype=np.int64), self.alive)
        return torch.from_numpy(np.arange(self.rows) - first)

    @cached_property
    def rank(self) -> Tensor:
        """int64 `[B]`: as which of the samples each runs; anything of one without a step."""
        rank = np.zeros(self.batch, dtype=np.int64)
        rank[self._order] = np.arange(self.active)
        return torch.from_numpy(rank)

    @cached_property
    def index(self) -> Tensor:
        """Of every row its place among the padded rows `[T * B]`."""
        step, sample = self.places
        return step * self.batch + sample

    @cached_property
    def in_order(self) -> bool:
        """Whether samples run in the order of the batch, and all of them."""
        return np.array_equal(self._order, np.arange(self.batch))

    @cached_property
    def segments(self) -> list[Segment]:
        """Stretches of steps without an end in between, in order."""
        ends = [0, *sorted(set(self.sorted))]
        return [
            Segment(first, last, int(self.alive[first]), self.first_rows[first])
            for first, last in pairwise(ends)
        ]

    def __repr__(self) -> str:
        return f"Packing({self.lengths.tolist()}, steps={self.steps})"
