"""IDX files: what is read, and that every damaged one is refused with its reason."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from spikegrad.data.mnist import FILES, MNIST, load_idx
from spikegrad.errors import UserError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize("packed", [False, True])
def test_reads_what_was_written(tiny, known, put, tmp_path, packed):
    data = load_idx(known(tiny), folder=put(tiny, tmp_path, packed=packed), download=False)
    assert data.train.x.dtype == torch.uint8
    assert data.train.x.shape == (12, 3, 4)
    assert data.train.x.numpy().tobytes() == tiny[IMAGES][16:]
    assert data.train.y.tolist() == [n % 10 for n in range(12)]
    assert data.test is not None
    assert len(data.test) == 6
    assert data.classes == 10
    assert not data.sequence
    torch.testing.assert_close(data.train.scaled(), data.train.x.float() / 255, rtol=0, atol=0)


def test_gzip_is_known_by_its_content_not_its_name(tiny, known, put, tmp_path):
    put(tiny, tmp_path)
    (tmp_path / IMAGES).write_bytes(gzip.compress(tiny[IMAGES]))
    assert len(load_idx(known(tiny), folder=tmp_path, download=False).train) == 12


def test_a_root_may_hold_the_set_in_a_folder_of_its_name(tiny, known, put, tmp_path):
    put(tiny, tmp_path / "tiny")
    assert len(load_idx(known(tiny), folder=tmp_path, download=False).train) == 12


def _swap_labels(data: bytes, value: int) -> bytes:
    return data[:-1] + bytes([value])


def _header(data: bytes, **change: int) -> bytes:
    place, value = next(iter(change.items()))
    at = {"kind": 2, "rank": 3, "count": 7, "height": 11}[place]
    return data[:at] + bytes([value]) + data[at + 1 :]


BAD = {
    "empty": (IMAGES, lambda f: b"", "empty"),
    "another format": (IMAGES, lambda f: b"\x89PNG" + f[IMAGES], "0x89504e47"),
    "two bytes": (IMAGES, lambda f: f[IMAGES][:2], "magic 0x00000803"),
    "floats": (IMAGES, lambda f: _header(f[IMAGES], kind=13), "0x00000d03"),
    "header cut": (IMAGES, lambda f: f[IMAGES][:9], "header of 16 bytes"),
    "truncated": (IMAGES, lambda f: f[IMAGES][:-1], "truncated"),
    "trailing bytes": (IMAGES, lambda f: f[IMAGES] + b"x", "followed by other bytes"),
    "too many announced": (IMAGES, lambda f: _header(f[IMAGES], count=13), "expected 172 bytes"),
    "no images": (IMAGES, lambda f: _header(f[IMAGES], count=0), "at least one value"),
    "labels as images": (IMAGES, lambda f: f[LABELS], "mislabelled"),
    "images as labels": (LABELS, lambda f: f[IMAGES], "mislabelled"),
    "label out of range": (LABELS, lambda f: _swap_labels(f[LABELS], 10), "labels in 0..9"),
    "counts disagree": (
        LABELS,
        lambda f: f["t10k-labels-idx1-ubyte"],
        "12 images in .* and 6 labels",
    ),
    "gzip cut": (IMAGES, lambda f: gzip.compress(f[IMAGES])[:-9], "complete gzip file"),
    "gzip damaged": (
        IMAGES,
        lambda f: gzip.compress(f[IMAGES])[:40] + bytes(8) + gzip.compress(f[IMAGES])[48:],
        "complete gzip file",
    ),
    "checksum": (IMAGES, lambda f: _swap_labels(f[IMAGES], f[IMAGES][-1] ^ 1), "checksum"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses_a_bad_file_and_names_it(tiny, known, put, tmp_path, case):
    file, damage, says = BAD[case]
    put(tiny, tmp_path)
    (tmp_path / file).write_bytes(damage(tiny))
    with pytest.raises(UserError, match=says) as caught:
        load_idx(known(tiny), folder=tmp_path, download=False)
    text = str(caught.value)
    assert "expected" in text
    assert ", got " in text
    assert "; " in text
    assert file in text


def test_a_file_that_cannot_be_read_is_one_clear_error(tiny, known, put, tmp_path, monkeypatch):
    put(tiny, tmp_path)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)  # root may read anything
    with pytest.raises(UserError, match=r"readable file.*Permission denied"):
        load_idx(known(tiny), folder=tmp_path, download=False)


def test_a_forged_header_allocates_nothing(tiny, known, put, tmp_path):
    put(tiny, tmp_path)
    (tmp_path / IMAGES).write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"abc")
    with pytest.raises(UserError, match=str(16 + (2**32 - 1) ** 3)):
        load_idx(known(tiny), folder=tmp_path, download=False)


def test_tiny_files_do_not_pass_for_mnist(tiny, put, tmp_path):
    assert list(MNIST.files) == list(FILES)
    with pytest.raises(UserError, match="of MNIST, got a wrong checksum"):
        load_idx(MNIST, folder=put(tiny, tmp_path), download=False)


def test_a_file_of_another_known_set_is_named(tiny, known, put, tmp_path, monkeypatch):
    """Fashion-MNIST's files bear the names of MNIST's: mixing them up must not go unnoticed."""
    other = dict(tiny)
    other[IMAGES] = _swap_labels(tiny[IMAGES], tiny[IMAGES][-1] ^ 1)
    mine = known(other)
    monkeypatch.setattr("spikegrad.data.mnist.FASHION_MNIST", known(tiny))
    with pytest.raises(UserError, match=f"got {IMAGES} of Tiny"):
        load_idx(mine, folder=put(tiny, tmp_path), download=False)


def test_images_are_writable_and_own_their_memory(tiny, known, put, tmp_path):
    """torch.from_numpy on the read-only bytes of a file warned, and writing was undefined."""
    data = load_idx(known(tiny), folder=put(tiny, tmp_path), download=False)
    data.train.x[0] = 0
    assert np.asarray(data.train.x).flags.writeable
