"""Mini-batches as a pure function of (seed, epoch, index): a run can continue at any of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator

import torch

from spikegrad.data import seeds
from spikegrad.data.augment import Augment
from spikegrad.data.dataset import Split
from spikegrad.data.normalise import standardise
from spikegrad.errors import UserError, message

__all__ = ["Batches"]

_ORDER, _AUGMENT = 0, 1  # two streams of random numbers from one seed

Batch = tuple[torch.Tensor, ...]
"""(x, y), or of sequences with lengths (x, y, lengths)."""


class Batches:
    """The mini-batches of a part of a data set, in an order of their own in every epoch.

    Batch `i` of epoch `e`, with its augmentation, depends on `(seed, e, i)` and on nothing that
    was drawn before. With several processes the global batch is the one a single process would
    see, and each rank takes a contiguous part of it; parts differ by one sample at most.

    Args:
        split: the samples.
        batch_size: samples in a global batch, over all ranks together.
        seed: of the order and of the augmentation, >= 0.
        shuffle: whether each epoch has its own order; else the order of `split`.
        augment: an `Augment`, or any `f(x, generator) -> x` that keeps the shape `[B, ...]`;
            applied to scaled values before `normalise`.
        normalise: (mean, std) for `standardise`, or None.
        drop_last: whether a last, smaller batch is left out.
        rank, world_size: this process and the number of them. A batch that does not divide gives
            the first ranks one sample more; of one smaller than `world_size` some get none.

    Raises:
        UserError: a size, rank or seed out of range, or not a single batch.

    >>> part = Split(torch.arange(10.0).reshape(10, 1), torch.zeros(10, dtype=torch.int64))
    >>> batches = Batches(part, 4, seed=0)
    >>> [len(y) for x, y in batches.epoch(0)]
    [4, 4, 2]
    >>> whole, rest = list(batches.epoch(3)), list(batches.epoch(3, start=1))
    >>> bool(torch.equal(whole[1][0], rest[0][0]))
    True
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
        normalise: tuple[float, float] | None = None,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _check_sizes(batch_size, rank, world_size)
        self.split = split
        self.batch_size = batch_size
        self.seed = seeds.check_seed(seed)
        self.shuffle = shuffle
        self.augment = augment
        self.normalise = normalise
        self.drop_last = drop_last
        self.rank = rank
        self.world_size = world_size
        self._next_epoch = 0
        if not len(self):
            expected = "expected at least one batch"
            got = f"{len(split)} samples with batch_size={batch_size}, drop_last={drop_last}"
            raise UserError(message(expected, got, "use a smaller batch"))

    def __len__(self) -> int:
        full, rest = divmod(len(self.split), self.batch_size)
        return full + int(not self.drop_last and rest > 0)

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch: 0 at first, then 1, ...; `set_epoch` says which one instead."""
        epoch = self._next_epoch
        self._next_epoch = epoch + 1
        return self.epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` (>= 0) the one that the next `iter(self)` yields."""
        self._next_epoch = seeds.check_seed(epoch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches `start`, `start+1`, ... of an epoch.

        Returns:
            pairs (x, y) of this rank: x float32 `[B, *features]` or `[B, T, *features]`, y int64
            `[B]`, on the device of the split. Of a split with lengths (x, y, lengths): T is that of
            the longest sample of the global batch, lengths are int64 `[B]` on the CPU.

        Raises:
            UserError: `start` is not in 0..len(self).
        """
        if not 0 <= start <= len(self):
            raise UserError(message(f"expected start in 0..{len(self)}", str(start)))
        order = self._order(epoch)
        return (self._batch(order, epoch, i) for i in range(start, len(self)))

    def _order(self, epoch: int) -> torch.Tensor:
        seeds.check_seed(epoch)
        if not self.shuffle:
            return torch.arange(len(self.split))
        return torch.from_numpy(seeds.permutation(len(self.split), self.seed, epoch, _ORDER))

    def _batch(self, order: torch.Tensor, epoch: int, i: int) -> Batch:
        index = order[i * self.batch_size : (i + 1) * self.batch_size]
        each, more = divmod(len(index), self.world_size)
        first = self.rank * each + min(self.rank, more)
        mine = slice(first, first + each + (self.rank < more))
        y = self.split.y[index[mine].to(self.split.y.device)]
        lengths = None if self.split.lengths is None else self.split.lengths[index]
        longest = None if lengths is None else int(lengths.max())
        x = self._augmented(index, mine, epoch, i, longest)
        x = x if self.normalise is None else standardise(x, *self.normalise)
        return (x, y) if lengths is None else (x, y, lengths[mine])

    def _augmented(
        self, index: torch.Tensor, mine: slice, epoch: int, i: int, longest: int | None
    ) -> torch.Tensor:
        """The scaled samples of this rank; longest: the steps that are looked at, None for all."""
        if self.augment is None:
            return self.split.scaled(index[mine], longest)
        generator = seeds.torch_generator(self.seed, epoch, i, _AUGMENT)
        if isinstance(self.augment, Augment):
            # The numbers are drawn for the global batch, the pixels moved for this rank only.
            x = self.split.scaled(index[mine], longest)
            drawn = self.augment.draw(len(index), x.shape[-2:], generator)
            return self.augment.apply(x, drawn[mine])
        return self.augment(self.split.scaled(index, longest), generator)[mine]


def _check_sizes(batch_size: int, rank: int, world_size: int) -> None:
    for name, value in (("batch_size", batch_size), ("rank", rank), ("world_size", world_size)):
        try:
            operator.index(value)
        except TypeError:
            raise TypeError(message(f"expected {name} as an integer", f"{value!r}")) from None
    if batch_size < 1:
        raise UserError(message("expected batch_size >= 1", str(batch_size)))
    if world_size < 1 or not 0 <= rank < world_size:
        got = f"rank {rank}, world_size {world_size}"
        raise UserError(message("expected 0 <= rank < world_size", got))
