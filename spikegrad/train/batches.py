"""The batches of an epoch from any loader, the same ones whenever the run was broken off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from spikegrad.errors import UserError, message
from spikegrad.train import seeding

__all__ = ["batches", "length", "peek"]

_NONE = object()


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
    for generator in _generators(loader):
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


def peek(loader: Iterable[Any], *, seed: int = 0) -> tuple[Any, Iterable[Any]]:
    """The first batch of a loader, and the loader as if nobody had looked.

    Raises:
        UserError: there is no batch.

    >>> batch, loader = peek(iter("abc"))
    >>> batch, list(loader)
    ('a', ['a', 'b', 'c'])
    """
    states = [(generator, generator.get_state()) for generator in _generators(loader)]
    if isinstance(loader, Iterator) and not hasattr(loader, "__len__"):
        source: Iterator[Any] = loader
        batch = next(loader, _NONE)
    else:
        source = batches(loader, 0, seed=seed)
        batch = next(source, _NONE)
    for generator, state in states:
        generator.set_state(state)
    if batch is _NONE:
        raise UserError(message("expected a batch", "none", "pass a loader with samples in it"))
    return batch, _PutBack(batch, loader) if source is loader else loader


class _PutBack:
    """An iterator from which one batch was taken, with that batch put back."""

    def __init__(self, batch: Any, rest: Iterator[Any]) -> None:
        self.taken, self.rest = [batch], rest

    def __iter__(self) -> Iterator[Any]:
        if not self.taken:
            yield from self.rest  # used up, or one that starts again
            return
        yield self.taken.pop()
        while (batch := next(self.rest, _NONE)) is not _NONE:
            yield batch


def length(loader: Iterable[Any]) -> int | None:
    """The number of batches in an epoch, None if the loader does not know.

    >>> length(["a", "b"]), length(iter("ab"))
    (2, None)
    """
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return None


def _generators(loader: Any) -> list[torch.Generator]:
    """The random generators that a loader and its sampler hold."""
    found = [getattr(h, "generator", None) for h in (loader, getattr(loader, "sampler", None))]
    return [generator for generator in found if isinstance(generator, torch.Generator)]
