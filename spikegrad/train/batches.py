"""The batches of an epoch from any loader, the same ones whenever the run was broken off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from spikegrad.errors import UserError, message
from spikegrad.train import seeding

__all__ = ["batches", "length"]


def batches(loader: Iterable[Any], epoch: int, *, start: int = 0, seed: int = 0) -> Iterator[Any]:
    """The batches `start`, `start+1`, ... of an epoch.

    A loader with `epoch(e, start)` (such as `spikegrad.data.Batches`) is asked for them. Any other
    iterable is iterated from the beginning: all generators start from (seed, epoch) before the
    pass and from (seed, epoch, batch) before each batch, so that a shuffling `DataLoader` gives
    the same batches again, and the first `start` ones are left out.

    Raises:
        UserError: an epoch without a batch.

    >>> list(batches(["a", "b", "c"], 0, start=1))
    ['b', 'c']
    """
    if hasattr(loader, "epoch"):
        yield from loader.epoch(epoch, start)
        return
    if hasattr(loader, "set_epoch"):
        loader.set_epoch(epoch)
    seeding.seed_all(seed, seeding.EPOCH, epoch)
    for holder in (loader, getattr(loader, "sampler", None)):
        generator = getattr(holder, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seeding.derive(seed, seeding.EPOCH, epoch))
    iterator, index = iter(loader), 0
    while True:
        seeding.seed_all(seed, seeding.FETCH, epoch, index)
        try:
            batch = next(iterator)
        except StopIteration:
            break
        if index >= start:
            yield batch
        index += 1
    if not index:
        remedy = "pass a loader that can be iterated again; a generator is used up after one epoch"
        raise UserError(message(f"expected a batch in epoch {epoch + 1}", "none", remedy))


def length(loader: Iterable[Any]) -> int | None:
    """The number of batches in an epoch, None if the loader does not know.

    >>> length(["a", "b"]), length(iter("ab"))
    (2, None)
    """
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return None
