"""The first hour: what would be trained, a file to edit, tab completion, pictures or not."""

from __future__ import annotations

import numpy as np
import pytest

from spikegrad.cli.main import main
from spikegrad.train import recipes, resolve

QUICK = ["--hidden", "8", "--steps", "2", "--epochs", "1", "--threads", "1", "--preflight", "off"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], ["hidden 1 (layer 3)", "LIF, triangle", "16,384", "parameters: 19,466; T = 4 steps"]),
        (["--model", "recurrent"], ["hidden 1 (layer 3)", "Recurrent of LIF", "65,536"]),
        (["--model", "conv"], ["hidden 3 (layer 11)", "16 x 8 x 8", "input 1 x 8 x 8"]),
        (["--readout", "spikes"], ["output (layer 6)"]),
    ],
)
def test_a_dry_run_shows_the_network_and_writes_nothing(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["train", "--dry-run", *words]) == 0
    out = capsys.readouterr().out
    for text in [
        *said,
        "1,293 training, 144 validation, 360 test samples; 40 epochs of 21 batches",
    ]:
        assert text in out
    assert "Quantity" not in out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_finds_what_would_fail(capsys):
    assert main(["train", "mnits", "--dry-run"]) == 2
    assert "did you mean 'mnist'" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", recipes())
def test_a_printed_recipe_is_the_recipe(recipe, tmp_path, capsys):
    assert main(["config", recipe]) == 0
    file = tmp_path / "mine.toml"
    file.write_text(capsys.readouterr().out)
    assert resolve({}, config=str(file)) == resolve({}, config=recipe)
    file.write_text(file.read_text().replace("\nepochs = ", "\nepochs = 1"))
    assert resolve({}, config=str(file)) != resolve({}, config=recipe)


def test_a_wrong_recipe_is_one_line(capsys):
    assert main(["config", "mnits"]) == 2
    assert "did you mean 'mnist'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "offered", "not_offered"),
    [
        ("tr", ["train"], ["eval"]),
        ("train --hid", ["--hidden"], ["--epochs"]),
        ("train --neuron ", ["lif", "cuba"], ["mnist"]),
        ("train --learn tau_mem,t", ["tau_mem,threshold"], ["threshold"]),
        ("train mn", ["mnist"], ["mnist-fc"]),
        ("train --config mn", ["mnist", "mnist-fc"], ["digits"]),
        ("config yin", ["yin-yang"], ["mnist"]),
    ],
)
def test_a_shell_that_asks_gets_words(typed, offered, not_offered, monkeypatch, capsys):
    """The way in did not pass the question on: nothing was ever completed."""
    words = typed.split(" ")
    monkeypatch.setenv("_SPIKEGRAD_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"spikegrad {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    monkeypatch.setattr("sys.argv", ["spikegrad"])
    assert main() == 0
    found = [line.split(",", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert set(offered) <= set(found)
    assert not set(not_offered) & set(found)


def test_no_pictures(tmp_path, capsys):
    run = tmp_path / "a run"
    assert main(["train", *QUICK, "--no-pictures", "--out", str(run)]) == 0
    assert not (run / "pictures").exists()
    out = capsys.readouterr().out
    assert "drawing" not in out
    assert "pictures" not in out.replace(str(run), "")
    assert f"curves:  tensorboard --logdir '{run / 'tensorboard'}'" in out
    assert f"measure: spikegrad eval '{run}'" in out
    assert main(["train", "--resume", str(run)]) == 0
    assert len(list((run / "pictures").glob("*.png"))) == 5


@pytest.mark.parametrize(("held", "part"), [("0.25", "validation"), ("0", "train")])
def test_what_measures_a_run_without_a_test_part_works(held, part, tmp_path, capsys):
    data, run = tmp_path / "own.npz", str(tmp_path / "run")
    np.savez(data, x=np.random.default_rng(0).random((40, 6), np.float32), y=np.arange(40) % 2)
    words = ["--data", str(data), "--epochs", "1", "--no-pictures", "--no-report", "--out", run]
    assert main(["train", *words, "--validation", held]) == 0
    assert f"measure: spikegrad eval {run} --split {part}" in capsys.readouterr().out
    assert main(["eval", run, "--split", part]) == 0
    capsys.readouterr()
    assert main(["eval", run]) == 2
    there = "validation or train" if part == "validation" else "train"
    assert f"choose --split {there}" in capsys.readouterr().err


def test_a_share_that_leaves_nothing_to_train_on_says_so(capsys):
    assert main(["train", "--validation", "0.9999", "--dry-run"]) == 2
    assert "got 0.9999, which leaves no sample to train on" in capsys.readouterr().err
