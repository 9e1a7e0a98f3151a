"""How a batch of sequences of different length lies in rows.

The rows of step t are those of the samples that have a step t, the longest sample first; step
follows step. So at every step the samples that have not ended are the first ones, and neither a
row nor an operation is spent on padding. torch calls this a packed sequence.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

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
        order = lengths.argsort(descending=True, stable=True)
        self.active = int((lengths > 0).sum())
        self.order = order[: self.active]
        self.sorted = lengths[self.order]
        self.longest = int(self.sorted[0]) if self.active else 0

    @cached_property
    def alive(self) -> Tensor:
        """`[longest, active]`: which samples have a step, as they run."""
        return torch.arange(self.longest).unsqueeze(1) < self.sorted

    @cached_property
    def starts(self) -> Tensor:
        """int64 `[longest + 1]`: the first row of every step, and the number of rows."""
        return torch.nn.functional.pad(self.alive.sum(1).cumsum(0), (1, 0))

    @cached_property
    def first_rows(self) -> list[int]:
        """`starts` as numbers."""
        found: list[int] = self.starts.tolist()
        return found

    @cached_property
    def rows(self) -> int:
        """The number of rows: all lengths added up."""
        return int(self.lengths.sum())

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """Of every row its step, and its sample in the order of the batch."""
        step, runs = self.alive.nonzero(as_tuple=True)
        return step, self.order[runs]

    @cached_property
    def runs(self) -> Tensor:
        """Of every row which sample it is of, as they run."""
        return self.alive.nonzero(as_tuple=True)[1]

    @cached_property
    def index(self) -> Tensor:
        """Of every row its place among the padded rows `[T * B]`."""
        step, sample = self.places
        return step * self.batch + sample

    @cached_property
    def in_order(self) -> bool:
        """Whether samples run in the order of the batch, and all of them."""
        return self.active == self.batch and bool((self.order == torch.arange(self.batch)).all())

    @cached_property
    def segments(self) -> list[Segment]:
        """Stretches of steps without an end in between, in order."""
        ends = [0, *self.sorted.unique().tolist()]
        return [
            Segment(first, last, int((self.sorted > first).sum()), int(self.starts[first]))
            for first, last in pairwise(ends)
        ]

    def __repr__(self) -> str:
        return f"Packing({self.lengths.tolist()}, steps={self.steps})"
