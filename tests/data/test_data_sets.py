"""Loading by name, the catalogue, the shipped digits, splits and statistics; real sets if here."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from spikegrad.data import (
    Split,
    catalogue,
    load,
    load_digits,
    load_npz,
    names,
    split_validation,
    standardise,
    statistics,
)
from spikegrad.data import digits as digits_room
from spikegrad.data.mnist import FASHION_MNIST, MNIST, locate
from spikegrad.errors import UserError

REAL = {"mnist": (MNIST, 0.1307, 0.3081), "fashion-mnist": (FASHION_MNIST, 0.2860, 0.3530)}


def _here(name: str) -> bool:
    return {entry.name: entry.present for entry in catalogue()}[name]


@pytest.mark.parametrize("name", names())
def test_every_set_keeps_the_contract(name):
    if not _here(name):
        pytest.skip(f"{name} is not on this machine: name its folder by SPIKEGRAD_DATA")
    data = load(name, download=False)
    assert data.name == name
    assert len(data.class_names) == data.classes
    assert data.source
    assert data.licence
    assert data.test is not None
    for part in (data.train, data.test):
        assert part.x.shape[1:] == data.train.x.shape[1:]
        assert part.y.unique().tolist() == list(range(data.classes))
        few = part.scaled(torch.arange(len(part))[::97])
        assert few.dtype == torch.float32
        assert 0.0 <= few.min() < few.max() <= 1.0


@pytest.mark.parametrize("name", REAL)
def test_the_real_sets(name):
    known, mean, std = REAL[name]
    if locate(known) is None:
        pytest.skip(f"{name} is not on this machine: name its folder by SPIKEGRAD_DATA")
    data = load(name, download=False)
    assert data.test is not None
    assert (len(data.train), len(data.test), data.features) == (60000, 10000, (28, 28))
    got = statistics(data.train)  # the figures everybody quotes, to four digits
    assert abs(got[0] - mean) < 6e-5
    assert abs(got[1] - std) < 6e-5


def test_a_real_file_of_a_users_own():
    path = Path(os.environ.get("SPIKEGRAD_DATA", "nowhere")) / "braille" / "braille_27x50.npz"
    if not path.is_file():
        pytest.skip("braille/braille_27x50.npz is not under SPIKEGRAD_DATA")
    data = load_npz(path, sequence=True)
    assert (data.classes, data.steps, data.features) == (27, 76, (12,))


def test_digits_are_those_of_the_uci_set():
    """Counts per class as UCI's description of the test part gives them."""
    data = load_digits()
    assert data.test is not None
    assert (len(data.train), len(data.test)) == (1437, 360)
    x, y = torch.cat([data.train.x, data.test.x]), torch.cat([data.train.y, data.test.y])
    assert x.shape == (1797, 8, 8)
    assert (int(x.min()), int(x.max())) == (0, 16)
    assert y.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.train.scaled().max() == 1.0
    shares = data.test.y.bincount() / y.bincount()
    assert abs(shares - 360 / 1797).max() < 0.006  # one sample of the smallest class


PINNED_TEST = "e0e5b030ce8b4272"


def test_the_split_of_the_digits_never_changes():
    data = load_digits()
    assert data.test is not None
    content = data.test.x.numpy().tobytes() + data.test.y.numpy().tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == PINNED_TEST


def test_digits_come_with_their_licence():
    text = Path(digits_room.__file__).with_name("LICENSE").read_text(encoding="utf-8")
    for word in ("Alpaydin", "Kaynak", "CC BY 4.0", "10.24432/C50P49"):
        assert word in text


def test_unknown_names_list_the_close_ones():
    with pytest.raises(UserError, match="did you mean 'fashion-mnist'"):
        load("fashion_mnist")
    with pytest.raises(UserError, match="load_npz"):
        load("mine.npz")
    with pytest.raises(UserError, match="did you mean 'samples'"):
        load("yin-yang", sample=3)
    for name in ("digits", "mnist"):
        with pytest.raises(UserError, match="unknown option"):
            load(name, seed=3)


def test_catalogue_on_a_machine_without_data(nowhere):
    entries = {entry.name: entry for entry in catalogue()}
    assert list(entries) == names()
    assert entries["digits"].present
    assert entries["randman"].present
    lacking = entries["mnist"]
    if not lacking.present:  # Debian's package may be installed
        assert str(nowhere / "mnist") in lacking.where
        assert "SPIKEGRAD_DATA" in lacking.how_to_get
    assert not nowhere.exists()  # looking creates nothing


def test_catalogue_sizes_are_true():
    for entry in catalogue():
        if entry.present:
            data = load(entry.name, download=False)
            assert data.test is not None
            assert entry.size.startswith(f"{len(data.train):,} + {len(data.test):,} ")
            assert f"{data.classes} classes" in entry.size


def _part(counts: list[int]) -> Split:
    y = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
    return Split(torch.arange(len(y), dtype=torch.float32)[:, None], y)


def test_validation_is_stratified_disjoint_and_exact():
    part = _part([100, 50, 33])
    train, validation = split_validation(part, 0.1, 5)
    assert validation.y.bincount().tolist() == [10, 5, 3]
    assert len(train) + len(validation) == 183
    both = torch.cat([train.x, validation.x]).flatten().sort().values
    assert torch.equal(both, part.x.flatten())
    assert torch.equal(part.y[validation.x.flatten().long()], validation.y)


def test_validation_by_size_is_validation_by_share():
    part = _part([40, 40])
    share, size = (split_validation(part, f, 3)[1].x for f in (0.25, 20))
    assert torch.equal(share, size)


def test_validation_is_a_function_of_the_seed():
    part = _part([40, 40])
    first, again, other = (split_validation(part, 0.2, seed)[1].x for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_validation_keeps_the_scale():
    part = Split(torch.zeros(20, 2, dtype=torch.uint8), torch.arange(20) % 2, scale=16.0)
    assert {p.divisor for p in split_validation(part, 0.5, 0)} == {16.0}


@pytest.mark.parametrize(("top", "divisor"), [(1, 1.0), (2, 255.0), (255, 255.0)])
def test_bytes_are_divided_alike_in_memory_and_from_a_file(tmp_path, top, divisor):
    """Bytes 0 and 1 were divided by 255 in a `Split`, and by 1 in `load_npz`."""
    x = np.array([[0, 1], [0, top]], dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x=x, y=np.array([0, 1]))
    part = Split(torch.from_numpy(x), torch.tensor([0, 1]))
    assert part.divisor == load_npz(tmp_path / "mine.npz").train.divisor == divisor
    assert part.scaled()[1, 1] == top / divisor
    assert part.select(torch.tensor([0])).divisor == divisor  # a part is scaled as the whole


@pytest.mark.parametrize(
    ("counts", "fraction", "says"),
    [
        ([50, 2], 0.1, "validation part, got no sample of class 1"),
        ([50, 1], 0.5, "class 1 at 0.5"),
        ([10, 10], 0.999, "share in"),  # rounds to all of them
        ([10, 10], 0.0, r"share in \(0, 1\) or a size in 1\.\.19"),
        ([10, 10], -0.1, "share in"),
        ([10, 10], 20, "share in"),
        ([10, 10], 2.5, "share in"),
        ([10, 10], float("inf"), "share in"),
        ([10, 10], float("nan"), "share in"),
        ([10, 10], 1, "validation part"),
        ([10, 10], 19, "training part"),
        ([10, 10], 0.01, "validation part"),
    ],
)
def test_validation_refuses(counts, fraction, says):
    with pytest.raises(UserError, match=says):
        split_validation(_part(counts), fraction, 0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_statistics_are_numpys(dtype):
    x = torch.randint(0, 200, (9000, 3), generator=torch.Generator().manual_seed(0))
    part = Split(x.to(dtype), torch.zeros(9000, dtype=torch.int64), scale=50.0)
    mean, std = statistics(part)
    values = x.numpy().astype(np.float64) / 50.0
    assert mean == pytest.approx(values.mean(), rel=1e-12)
    assert std == pytest.approx(values.std(), rel=1e-12)
    z = standardise(part.scaled(), mean, std).double()
    assert abs(float(z.mean())) < 1e-5
    assert abs(float(z.std(correction=0)) - 1.0) < 1e-5


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_standardise_refuses(std):
    with pytest.raises(UserError, match="std > 0"):
        standardise(torch.zeros(2), 0.0, std)


Y2 = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("x", "y", "scale", "error"),
    [
        (torch.zeros(2, 3, dtype=torch.float64), Y2, None, TypeError),
        (torch.zeros(2, 3), Y2.int(), None, TypeError),
        (torch.zeros(2), Y2, None, UserError),
        (torch.zeros(2, 3), Y2[:, None], None, UserError),
        (torch.zeros(3, 3), Y2, None, UserError),
        (torch.zeros(0, 3), Y2[:0], None, UserError),
        (torch.zeros(2, 3), Y2, 0.0, UserError),
        (torch.zeros(2, 3), Y2, float("nan"), UserError),
    ],
)
def test_a_split_refuses(x, y, scale, error):
    with pytest.raises(error, match="expected"):
        Split(x, y, scale)
