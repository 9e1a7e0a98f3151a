"""A run folder of another version of spikegrad: one line and status 2, wherever it is opened."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import spikegrad as sg
from spikegrad.cli.main import main
from spikegrad.data import load_digits
from spikegrad.errors import UserError

SMALL = ["--hidden", "8", "--steps", "3", "--epochs", "1", "--batch-size", "50", "--threads", "1"]
SMALL += ["--no-tensorboard", "--preflight", "off", "--quiet"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    there = tmp_path_factory.mktemp("old")
    digits = load_digits()
    parts = {"x_train": digits.train.x[:100], "y_train": digits.train.y[:100]}
    parts |= {"x_test": digits.test.x[:40], "y_test": digits.test.y[:40]}
    np.savez(there / "tiny.npz", **{name: part.numpy() for name, part in parts.items()}, scale=16.0)
    words = ["train", "--data", str(there / "tiny.npz"), "--out", str(there / "run")]
    assert main([*words, *SMALL]) == 0
    return there / "run"


@pytest.fixture
def run(whole, tmp_path):
    there = shutil.copytree(whole, tmp_path / "run")
    (there / "result.json").unlink()  # of a run that can be resumed
    return there


def line_of(words, capsys) -> str:
    """What the command says: one line, and status 2."""
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def resume(run) -> list[str]:
    return ["train", "--quiet", "--resume", str(run)]


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_a_checkpoint_of_another_format(number, run, capsys):
    file = run / "checkpoint.pt"
    torch.save({**torch.load(file, weights_only=True), "format": number}, file)
    said = line_of(resume(run), capsys)
    assert f"expected a checkpoint of format 1 in {file}, got {number}" in said
    assert "resume with the version of spikegrad that wrote it" in said


def test_a_checkpoint_that_lacks_a_field(run, capsys):
    """Every field that is read, one after the other: none gets a value that is made up."""
    file = run / "checkpoint.pt"
    state = torch.load(file, weights_only=True)
    assert {"format", "state", "network", "optimizer", "random"} <= set(state)
    silent = []
    for name in state:
        torch.save({key: value for key, value in state.items() if key != name}, file)
        if main(resume(run)) == 0:
            silent.append(name)
            (run / "result.json").unlink()
            continue
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, (name, lines)
        assert str(file) in lines[0], (name, lines)
    assert silent == ["average"]  # this run has none


def notes_of(run) -> dict[str, str]:
    with safe_open(run / "weights.safetensors", framework="pt") as file:
        return dict(file.metadata())


@pytest.mark.parametrize("opened", ["eval", "load"])
def test_weights_that_lack_a_note(opened, run, capsys):
    """What the network reads is kept with the weights; older ones may have less of it."""
    file = run / "weights.safetensors"
    notes, weights = notes_of(run), load_file(file)
    inside = json.loads(notes["spikegrad"])
    assert {"features", "classes", "divisor"} <= set(inside["inputs"])
    damaged = [{key: value for key, value in inside.items() if key != "inputs"}]
    for field in inside["inputs"]:
        inputs = {key: value for key, value in inside["inputs"].items() if key != field}
        damaged.append({**inside, "inputs": inputs})
    for less in damaged:
        save_file(weights, file, metadata={"spikegrad": json.dumps(less)})
        if opened == "load":
            with pytest.raises(UserError, match=r"expected .*weights\.safetensors"):
                sg.load(run)
        else:
            assert str(file) in line_of(["eval", str(run)], capsys)


@pytest.mark.parametrize("opened", ["eval", "train", "load"])
def test_a_config_with_a_field_that_is_no_more(opened, run, capsys):
    file = run / "config.toml"
    file.write_text(file.read_text().replace("[network]", "[network]\nold_field = 3", 1))
    if opened == "load":
        with pytest.raises(UserError, match="old_field"):
            sg.load(run)
        return
    said = line_of(["eval", str(run)] if opened == "eval" else resume(run), capsys)
    assert "old_field" in said
