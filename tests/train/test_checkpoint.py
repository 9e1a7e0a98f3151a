"""Checkpoints: data only, whole or not at all."""

from __future__ import annotations

import os
import pickle
import random

import pytest
import torch

from spikegrad.errors import UserError
from spikegrad.train import checkpoint, seeding
from spikegrad.train.folder import RunFolder


class Evil:
    """Executes code when it is unpickled by an ordinary reader."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_loading_never_executes_code(tmp_path):
    trap = tmp_path / "trap"
    torch.save({"format": checkpoint.FORMAT, "state": Evil(str(trap))}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match=r"expected only data in .* would execute code"):
        checkpoint.load(tmp_path / "checkpoint.pt")
    assert not trap.exists()
    with open(tmp_path / "plain.pt", "wb") as file:
        pickle.dump(Evil(str(trap)), file, protocol=2)
    with pytest.raises(UserError, match=r"expected only data in .* would execute code"):
        checkpoint.load(tmp_path / "plain.pt")
    assert not trap.exists()
    torch.load(tmp_path / "checkpoint.pt", weights_only=False)
    assert trap.exists(), "the trap itself works"


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (0, "got an empty file; move it away"),
        (1, "got no checkpoint at all; move it away"),
        (100, "got a damaged or truncated file; move it away"),
        (-1, "got a damaged file; move it away"),
    ],
)
def test_a_truncated_file_is_said_to_be_one(tmp_path, keep, words):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"weights": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=f"expected a complete checkpoint in .*, {words}"):
        checkpoint.load(path)


def test_a_bit_that_flips_anywhere_is_found(tmp_path):
    """torch's reader looks at no checksum: a checkpoint with one other bit loaded in silence."""
    path, chance = tmp_path / "checkpoint.pt", random.Random(0)
    checkpoint.save(path, {"weights": torch.ones(100)})
    whole = path.read_bytes()
    places = [*range(60), *range(len(whole) - 130, len(whole))]
    places += [chance.randrange(len(whole)) for _ in range(60)]
    for place in places:
        path.write_bytes(_flipped(whole, place, chance.randrange(8)))
        with pytest.raises(UserError, match=r"expected a complete checkpoint in .*, got a damaged"):
            checkpoint.load(path)


def test_a_flipped_bit_is_found_without_our_checksum(tmp_path):
    """A file that torch.save wrote has the checksums of its archive alone."""
    path = tmp_path / "checkpoint.pt"
    torch.save({"format": checkpoint.FORMAT, "weights": torch.ones(1000)}, path)
    whole = path.read_bytes()
    assert checkpoint.load(path)["weights"].sum() == 1000
    inside = whole.index(torch.ones(1000).numpy().tobytes())
    for place in range(inside, inside + 4000, 200):
        path.write_bytes(_flipped(whole, place, 3))
        with pytest.raises(UserError, match="got a damaged file"):
            checkpoint.load(path)


def _flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


@pytest.mark.parametrize(
    "data", [b"garbage", b"checkpoint\nof mine\n" * 9, bytes(range(256)), b"\x80\x02}q\x00."]
)
def test_garbage_is_not_called_code(tmp_path, data):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"expected a complete checkpoint in .*, got no checkpoint"):
        checkpoint.load(path)


def test_another_layout_is_refused(tmp_path):
    torch.save({"format": 0}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match=r"expected a checkpoint of format 1 in .*, got 0"):
        checkpoint.load(tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="expected a checkpoint, got no file"):
        checkpoint.load(tmp_path / "none.pt")


def test_every_random_state_comes_back():
    import numpy as np

    seeding.seed_all(1, 2)
    random.gauss(0, 1)
    np.random.standard_normal()
    held = seeding.states()

    def draw():
        return torch.rand(2).tolist(), random.gauss(0, 1), np.random.standard_normal()

    first = draw()
    seeding.restore(held)
    assert draw() == first


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="expected a writable run folder"):
        RunFolder.create(tmp_path / "file" / "run", "")
    with pytest.raises(UserError, match="expected a new run folder, got the file"):
        RunFolder.create(tmp_path / "file", "")
    with pytest.raises(UserError, match=r"a folder without config\.toml"):
        RunFolder.open(tmp_path)
