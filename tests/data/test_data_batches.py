"""Batches are a pure function of (seed, epoch, index), for one process and for several."""

from __future__ import annotations

import pytest
import torch

from spikegrad.data import Augment, Batches, Split, seeds, standardise
from spikegrad.errors import UserError

AUGMENTS = {
    "none": None,
    "moved": Augment(shift=2, flip=True, erase=0.5),
    "warped": Augment(shift=1, rotate=20.0, scale=0.2),
    "own": lambda x, generator: x + torch.rand(x.shape, generator=generator),
}


def _split(n: int = 50) -> Split:
    x = torch.arange(n * 30, dtype=torch.int64).reshape(n, 6, 5) % 251
    return Split(x.to(torch.uint8), torch.arange(n))


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=list(AUGMENTS))
def test_an_epoch_continues_at_any_batch(augment):
    whole = list(Batches(_split(), 8, seed=3, augment=augment).epoch(4))
    assert len(whole) == 7
    for start in range(8):
        torch.manual_seed(start)  # the global generator plays no part
        rest = list(Batches(_split(), 8, seed=3, augment=augment).epoch(4, start=start))
        assert len(rest) == 7 - start
        for (x, y), (a, b) in zip(whole[start:], rest, strict=True):
            assert torch.equal(x, a)
            assert torch.equal(y, b)


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=list(AUGMENTS))
def test_ranks_part_the_batch_of_one_process(augment):
    split = _split(51)
    for world_size in (2, 3, 4):
        ranks = [
            Batches(split, 8, seed=1, augment=augment, rank=r, world_size=world_size)
            for r in range(world_size)
        ]
        alone = Batches(split, 8, seed=1, augment=augment)
        parts = [list(batches.epoch(2)) for batches in ranks]
        assert {len(p) for p in parts} == {len(alone)}
        for i, (x, y) in enumerate(alone.epoch(2)):
            sizes = [len(p[i][1]) for p in parts]
            assert max(sizes) - min(sizes) <= 1
            assert torch.equal(torch.cat([p[i][1] for p in parts]), y)
            # Interpolation may be vectorised otherwise for another batch size: float32 rounding.
            torch.testing.assert_close(torch.cat([p[i][0] for p in parts]), x, rtol=0, atol=1e-6)


def test_a_last_batch_smaller_than_the_world_leaves_some_without():
    split = _split(17)
    ranks = [Batches(split, 8, rank=r, world_size=3) for r in range(3)]
    last = [list(batches.epoch(0))[-1] for batches in ranks]
    assert [len(batches) for batches in ranks] == [3, 3, 3]
    assert [len(y) for _, y in last] == [1, 0, 0]
    assert [x.shape[1:] for x, _ in last] == [split.x.shape[1:]] * 3
    assert len(Batches(split, 8, drop_last=True, world_size=3)) == 2
    assert len(Batches(_split(16), 8, drop_last=True)) == 2


def test_every_batch_of_every_epoch_draws_its_own_augmentation():
    draws = []

    def watch(x, generator):
        draws.append(float(torch.rand(1, generator=generator)))
        return x

    batches = Batches(_split(), 8, seed=0, augment=watch)
    for epoch in range(3):
        list(batches.epoch(epoch))
    list(Batches(_split(), 8, seed=1, augment=watch).epoch(0))
    assert len(set(draws)) == len(draws) == 4 * 7


def test_every_epoch_is_a_permutation_of_its_own():
    batches = Batches(_split(), 8, seed=0)
    orders = [torch.cat([y for _, y in batches.epoch(e)]).tolist() for e in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != list(range(50))
    other = torch.cat([y for _, y in Batches(_split(), 8, seed=1).epoch(0)]).tolist()
    assert other != orders[0]


def test_without_shuffling_the_order_is_that_of_the_split():
    for epoch in (0, 5):
        ys = [y for _, y in Batches(_split(), 8, shuffle=False).epoch(epoch)]
        assert torch.cat(ys).tolist() == list(range(50))


def test_samples_keep_their_labels_and_are_scaled():
    split = _split()
    for x, y in Batches(split, 8, seed=2).epoch(0):
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert torch.equal(x, split.x[y].float() / 255)


def test_normalisation_comes_after_augmentation():
    augment = Augment(shift=2)
    plain = Batches(_split(), 8, seed=2, augment=augment)
    scaled = Batches(_split(), 8, seed=2, augment=augment, normalise=(0.5, 0.25))
    for (x, _), (z, _) in zip(plain.epoch(1), scaled.epoch(1), strict=True):
        assert torch.equal(standardise(x, 0.5, 0.25), z)


def test_as_an_ordinary_loader():
    batches = Batches(_split(), 8, seed=0)
    first, second = ([y.tolist() for _, y in batches] for _ in range(2))
    assert first == [y.tolist() for _, y in batches.epoch(0)]
    assert second == [y.tolist() for _, y in batches.epoch(1)]
    batches.set_epoch(0)
    assert first == [y.tolist() for _, y in batches]


PINNED_ORDER = [7, 4, 5, 1, 6, 2, 0, 3]
PINNED_RAW = [10018994179333166143, 2694314637663676162]


def test_the_order_never_changes():
    """A resumed run must find the order that its first half had, under any version of NumPy."""
    assert seeds.permutation(8, 0, 1, 0).tolist() == PINNED_ORDER
    assert seeds.raw(2, 1998).tolist() == PINNED_RAW


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"batch_size": 4, "world_size": 2, "rank": 2}, "0 <= rank < world_size"),
        ({"batch_size": 4, "world_size": 0}, "0 <= rank < world_size"),
        ({"batch_size": 4, "seed": -1}, "seed >= 0"),
        ({"batch_size": 64, "drop_last": True}, "at least one batch"),
    ],
)
def test_refuses_at_construction(options, says):
    with pytest.raises(UserError, match=says):
        Batches(_split(), options.pop("batch_size"), **options)


@pytest.mark.parametrize("start", [-1, 8])
def test_refuses_a_start_outside_the_epoch(start):
    with pytest.raises(UserError, match=r"start in 0\.\.7"):
        Batches(_split(), 8).epoch(0, start=start)


def test_refuses_fractions():
    with pytest.raises(TypeError, match="batch_size as an integer"):
        Batches(_split(), 8.0)
    with pytest.raises(TypeError, match="seed as an integer"):
        Batches(_split(), 8, seed=0.5)
