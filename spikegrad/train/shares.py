"""Each process's share of a batch, and how the shares make the whole batch again.

The outputs of all shares are put together and every process computes the loss of the whole batch,
so that any objective has the value and the gradient that one process would see; no share need be
as large as another, and no sample is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DistributedSampler

from spikegrad.errors import RunError, UserError, message
from spikegrad.ragged import Events
from spikegrad.train.batch import Batch, batch_of
from spikegrad.train.running import Place

__all__ = ["ALONE", "Share", "Shared", "check_divisible", "shares"]

_END = -1  # the count of a process whose epoch is over


@dataclass(frozen=True)
class Share:
    """Which samples of a batch are this process's own.

    counts: how many each process has, in the order of the batch; rank: which of them is ours.
    Without counts one process has all of it.

    >>> Share().whole(torch.ones(3)).tolist(), Share((2, 1), rank=1).weight
    ([1.0, 1.0, 1.0], 0.3333333333333333)
    """

    counts: tuple[int, ...] = ()
    rank: int = 0

    @property
    def alone(self) -> bool:
        """Whether this is the whole batch."""
        return len(self.counts) < 2

    @property
    def weight(self) -> float:
        """Our part of the whole batch, 0 to 1."""
        return 1.0 if self.alone else self.counts[self.rank] / sum(self.counts)

    def whole(self, own: Tensor, axis: int = 0) -> Tensor:
        """The values of the whole batch, from every process's own; the same in each.

        Gradients reach the own values alone: each process computes the whole loss, and the
        gradients of the weights are added up over the processes.

        own: with our samples along `axis`; those of a process that only stands in are left out.
        """
        if self.alone:
            return own
        before, mine = sum(self.counts[: self.rank]), self.counts[self.rank]
        shape = list(own.shape)
        shape[axis] = total = sum(self.counts)
        own = own.narrow(axis, 0, mine)  # none of them still belongs to the graph
        everything = own.new_zeros(shape)
        everything.narrow(axis, before, mine).copy_(own.detach())
        dist.all_reduce(everything)
        after = before + mine
        parts = [everything.narrow(axis, 0, before), own]
        return torch.cat([*parts, everything.narrow(axis, after, total - after)], axis)

    def mean(self, own: Tensor, weight: float | None = None) -> Tensor:
        """The mean over the whole batch of a value that is a mean over each share.

        Gradients reach the own value alone, as in `whole`. weight: our part of what the mean is
        over, None where that is the samples.
        """
        if self.alone:
            return own
        own = own * (self.weight if weight is None else weight)
        total = own.detach().clone()
        dist.all_reduce(total)
        return own + (total - own.detach())


ALONE = Share()
"""All of a batch."""


class Shared(NamedTuple):
    """Samples, labels and lengths of a share, on their device.

    A process for which no sample is left stands in: it runs the network on zeros, so that it meets
    the others where they wait for it, and what it computes counts for nothing. Sequences are as
    long as the longest of the whole batch.
    """

    batch: Batch
    share: Share


def shares(batches: Iterable[Any], place: Place, *, parts: bool = False) -> Iterator[Shared]:
    """Our share of each batch, in step with all other processes.

    Args:
        batches: of pairs (x, y), or of x alone, or (x, y, lengths), the same in every process;
            parts: they are our own shares already.
        place: where they go, and which process we are.
    Raises:
        UserError: a batch that is no pair, or that has no sample.
        RunError: the processes see different batches.
    """
    for given in batches:
        batch = batch_of(given)
        share, longest = _share(batch, place, parts)
        if not parts and not share.alone:
            first = sum(share.counts[: place.rank])
            batch = batch.part(slice(first, first + share.counts[place.rank]))
        batch = batch.trimmed(longest)
        if not sum(share.counts or (batch.samples,)):
            remedy = "do not pass empty batches"
            raise UserError(message("expected at least 1 sample per batch", "0", remedy))
        if not batch.samples:
            batch = batch.standing_in(longest)
        yield Shared(place.put(batch), share)
    if place.world > 1:
        _exchange(place, _END)


def check_divisible(network: nn.Module, loader: Iterable[Any]) -> None:
    """Refuse what would see one share where one process sees the whole batch.

    Raises:
        UserError: batch norm of torch, or a loader that divides the samples itself.
    """
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
            expected = "expected spikegrad.nn.BatchNorm with several processes"
            got = (
                f"torch's {type(module).__name__} ({name}), which normalises each share separately"
            )
            raise UserError(message(expected, got))
    if isinstance(getattr(loader, "sampler", None), DistributedSampler):
        expected = "expected a loader of whole batches"
        remedy = "remove it: each process takes its own share of a batch"
        raise UserError(message(expected, "one with a DistributedSampler", remedy))


def _share(batch: Batch, place: Place, parts: bool) -> tuple[Share, int]:
    """How a batch is divided among the processes, and the steps of its longest sequence."""
    count, longest = batch.samples, batch.longest
    if place.world == 1:
        return Share(), longest
    if parts:
        counts, longest = _exchange(place, count, longest=longest)
        return Share(counts, place.rank), longest
    _exchange(place, count, _fingerprint(batch.x))
    each, more = divmod(count, place.world)
    counts = tuple(each + (rank < more) for rank in range(place.world))
    return Share(counts, place.rank), longest


def _exchange(
    place: Place, count: int, fingerprint: int | None = None, longest: int = 0
) -> tuple[tuple[int, ...], int]:
    """The counts of all processes, and the longest sequence of all; with a fingerprint all must
    have the same batch.
    """
    own = [count, fingerprint or 0, longest]
    rows = torch.zeros(place.world, 3, dtype=torch.int64, device=place.device)
    rows[place.rank] = torch.tensor(own, dtype=torch.int64, device=place.device)
    dist.all_reduce(rows)
    counts = tuple(rows[:, 0].tolist())
    differ = len(set(counts)) > 1 or len(set(rows[:, 1].tolist())) > 1
    if _END in counts and differ:
        got = "an epoch that ends earlier in some"
        raise RunError(message("expected the same batches in every process", got, _REMEDY))
    if fingerprint is not None and differ:
        raise RunError(message("expected the same batch in every process", "others", _REMEDY))
    return counts, int(rows[:, 2].max())


def _fingerprint(x: Tensor | Events) -> int:
    """A number that other samples, or another order, do not have: of the first and the last, or of
    all events.
    """
    if isinstance(x, Events):
        ends = torch.cat([x.step, x.unit, x.sample, x.lengths])
    else:
        ends = x[[0, -1]] if len(x) else x
    data = ends.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1


_REMEDY = (
    "each process takes its own share of the whole batch; "
    "shuffle with the generator of torch, NumPy or Python, which fit seeds"
)
