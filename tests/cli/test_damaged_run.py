"""Whatever becomes of a file of a run: one line, status 2, and a remedy that works."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spikegrad.cli.main import main
from spikegrad.data import load_digits
from spikegrad.errors import UserError
from spikegrad.train.app import open_run
from spikegrad.train.folder import RunFolder

SMALL = ["--hidden", "8", "--steps", "3", "--epochs", "2", "--batch-size", "50", "--threads", "1"]
SMALL += ["--no-tensorboard", "--preflight", "off", "--quiet"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    there = tmp_path_factory.mktemp("damaged")
    digits = load_digits()
    parts = {"x_train": digits.train.x[:150], "y_train": digits.train.y[:150]}
    parts |= {"x_test": digits.test.x[:40], "y_test": digits.test.y[:40]}
    np.savez(there / "tiny.npz", **{name: part.numpy() for name, part in parts.items()}, scale=16.0)
    for name, more in (("run", []), ("wider", ["--hidden", "9"])):
        words = ["train", "--data", str(there / "tiny.npz"), "--out", str(there / name)]
        assert main([*words, *SMALL, *more]) == 0
    return there


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole / "run", tmp_path / "run")


def _unfinished(run):
    (run / "result.json").unlink()
    return run / "checkpoint.pt"


def _other_checkpoint(run, whole):
    shutil.copy(whole / "wider" / "checkpoint.pt", _unfinished(run))


def _checkpoint_without_content(run, whole):
    torch.save({"format": 1}, _unfinished(run))


def _checkpoint_with(name, value):
    def damage(run, whole):
        state = torch.load(run / "checkpoint.pt", weights_only=True)
        torch.save({**state, name: value}, _unfinished(run))

    return damage


def _garbage(name, data=b"garbage", *, unfinished=False):
    def damage(run, whole):
        (run / name).write_bytes(data)
        if unfinished:
            _unfinished(run)

    return damage


def _other_weights(run, whole):
    shutil.copy(whole / "wider" / "weights.safetensors", run)


def _half_the_weights(run, whole):
    data = (run / "weights.safetensors").read_bytes()
    (run / "weights.safetensors").write_bytes(data[: len(data) // 2])


def _strange_notes(run, whole):
    file = run / "weights.safetensors"
    save_file(load_file(file), file, metadata={"spikegrad": '{"inputs": {"classes": 3}}'})


TRAIN, EVAL = ["train", "--quiet", "--resume", "RUN"], ["eval", "RUN"]
DAMAGES = [
    (_other_checkpoint, TRAIN, "expected weights of this network in"),
    (_checkpoint_without_content, TRAIN, "got no 'state'; move it away"),
    (_checkpoint_with("state", "a word"), TRAIN, "expected the state of this run in"),
    (_checkpoint_with("state", {"tally": {}, "best": {}, "epoch": "1"}), TRAIN, "epoch as int"),
    (_checkpoint_with("network", [1]), TRAIN, "expected weights of this network in"),
    (_checkpoint_with("optimizer", {}), TRAIN, "expected the state of this run in"),
    (_checkpoint_with("random", None), TRAIN, "expected the state of this run in"),
    (_garbage("checkpoint.pt", b"", unfinished=True), TRAIN, "got an empty file; move it away"),
    (_garbage("checkpoint.pt", unfinished=True), TRAIN, "got no checkpoint at all; move it away"),
    (_garbage("config.toml", b"\xff\xfe"), TRAIN, "config.toml: not UTF-8 text"),
    (_garbage("config.toml", b"\xff\xfe"), EVAL, "config.toml: not UTF-8 text"),
    (_garbage("result.json"), TRAIN, "expected a complete"),
    (_garbage("result.json", b"\xff"), TRAIN, "expected a complete"),
    (_garbage("result.json", b"[]"), TRAIN, "got no object; move result.json away"),
    (_garbage("result.json", b"{}"), TRAIN, "got best_epoch is 'missing'"),
    (_garbage("metrics.jsonl", b"{}\n3\n"), TRAIN, "got a line that is no object"),
    (_other_weights, TRAIN, "expected weights of this network in"),
    (_other_weights, EVAL, "expected weights of this network in"),
    (_half_the_weights, TRAIN, "expected complete weights in"),
    (_half_the_weights, EVAL, "move weights.safetensors away and resume"),
    (_garbage("weights.safetensors", b""), EVAL, "expected complete weights in"),
    (_strange_notes, EVAL, "expected the inputs of the network in"),
]


@pytest.mark.parametrize(("damage", "words", "said"), DAMAGES)
def test_one_line_and_status_2(damage, words, said, run, whole, capsys):
    damage(run, whole)
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert main([str(run) if word == "RUN" else word for word in words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert len(err) < 400 + 2 * len(str(run))
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_a_bit_that_flips_in_the_weights_is_found(run, capsys):
    file, chance = run / "weights.safetensors", random.Random(0)
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for _ in range(20):
        place = chance.randrange(start, len(data))
        bit = bytes([data[place] ^ 1 << chance.randrange(8)])
        file.write_bytes(data[:place] + bit + data[place + 1 :])
        with pytest.raises(UserError, match="got a damaged file: its checksum differs"):
            open_run(run)
    assert main(["eval", str(run)]) == 2
    assert "got a damaged file: its checksum differs" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["weights.safetensors", "result.json"])
def test_the_remedy_works(name, run, whole, capsys):
    """What is deleted is written again, the same to the last bit but for times."""
    (run / name).unlink()
    if name.startswith("weights"):
        assert main(["eval", str(run)]) == 2
        assert f"spikegrad train --resume {run} finishes it" in capsys.readouterr().err
    assert main(["train", "--quiet", "--resume", str(run)]) == 0
    weights = "weights.safetensors"
    assert (run / weights).read_bytes() == (whole / "run" / weights).read_bytes()
    one, other = (json.loads((r / "result.json").read_text()) for r in (run, whole / "run"))
    assert one["test_accuracy"] == other["test_accuracy"]
    assert main(["eval", str(run)]) == 0


def test_lost_samples_and_a_damaged_index_are_written_again(run, capsys):
    """A run without samples got one picture of five, and an index that called it complete."""
    (run / "samples.npz").unlink()
    for file in (run / "pictures").iterdir():
        file.unlink()
    assert main(["train", "--quiet", "--resume", str(run)]) == 0
    index = run / "pictures" / "index.json"
    whole = index.read_bytes()
    assert len(json.loads(whole)) == 5
    assert RunFolder(run).pictured
    for damaged in (b"", b"3", b'{"a": 1}', b"[1]", b'["none.png"]', b"\xff"):
        index.write_bytes(damaged)
        assert not RunFolder(run).pictured
    assert main(["train", "--quiet", "--resume", str(run)]) == 0
    assert index.read_bytes() == whole
