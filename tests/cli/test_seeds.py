"""`spikegrad train --seeds N`: a run each, their mean and spread, and the way back after a stop."""

from __future__ import annotations

import csv
import json
import statistics

import numpy as np
import pytest

from spikegrad.cli.main import main
from spikegrad.data import load_digits
from spikegrad.train import app

SMALL = ["--hidden", "16", "--steps", "4", "--epochs", "2", "--batch-size", "40", "--seed", "3"]
SMALL += ["--validation", "0.2", "--no-tensorboard", "--preflight", "off", "--threads", "1"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    digits = load_digits()
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    train, test = digits.train, digits.test
    names = {"x_train": train.x[:200], "y_train": train.y[:200]}
    names |= {"x_test": test.x[:50], "y_test": test.y[:50]}
    np.savez(path, scale=16.0, **{name: value.numpy() for name, value in names.items()})
    return path


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take the longest, and are drawn for each run as for any."""
    monkeypatch.setattr("spikegrad.cli.summary.draw", lambda folder: [])


def test_a_run_each_and_their_mean_and_spread(tiny, tmp_path, capsys):
    folder = tmp_path / "runs"
    words = ["train", "--data", str(tiny), "--out", str(folder), *SMALL]
    assert main([*words, "--seeds", "3"]) == 0
    results = []
    for seed in (3, 4, 5):
        results.append(json.loads((folder / f"seed-{seed}" / "result.json").read_text()))
        assert results[-1]["seed"] == seed
    assert main(["train", "--data", str(tiny), "--out", str(tmp_path / "one"), *SMALL]) == 0
    alone = (tmp_path / "one" / "weights.safetensors").read_bytes()
    assert (folder / "seed-3" / "weights.safetensors").read_bytes() == alone
    assert (folder / "seed-4" / "weights.safetensors").read_bytes() != alone
    with open(folder / "seeds.csv", newline="") as held:
        rows = {row["seed"]: row for row in csv.DictReader(held)}
    accuracies = [result["test_accuracy"] for result in results]
    assert rows["mean"]["test accuracy"] == f"{statistics.mean(accuracies):.4f}"
    assert rows["standard deviation"]["test accuracy"] == f"{statistics.stdev(accuracies):.4f}"
    assert [float(rows[str(s)]["test accuracy"]) for s in (3, 4, 5)] == pytest.approx(
        accuracies, abs=1e-4
    )
    out = capsys.readouterr().out
    assert "seed 4 (2 of 3)" in out
    assert rows["mean"]["validation accuracy"] in out


def test_a_stop_in_between_goes_on(tiny, tmp_path, monkeypatch, capsys):
    folder, done = tmp_path / "runs", []
    real = app.train_run

    def stopping(config, *args, **options):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(config.run.seed)
        return real(config, *args, **options)

    monkeypatch.setattr(app, "train_run", stopping)
    words = ["train", "--data", str(tiny), "--out", str(folder), *SMALL, "--quiet"]
    assert main([*words, "--seeds", "2"]) == 130
    assert f"continue with: spikegrad train --resume {folder}" in capsys.readouterr().err
    kept = (folder / "seed-3" / "result.json").stat().st_mtime_ns
    monkeypatch.setattr(app, "train_run", real)
    assert main(["train", "--resume", str(folder), "--quiet"]) == 0
    assert (folder / "seed-3" / "result.json").stat().st_mtime_ns == kept
    assert (folder / "seed-4" / "result.json").is_file()
    assert main(["train", "--resume", str(folder), "--quiet", "--epochs", "3"]) == 0
    for seed in (3, 4):
        assert json.loads((folder / f"seed-{seed}" / "result.json").read_text())["epochs"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "1"], "expected --seeds >= 2, got 1"),
        (["--seeds", "x"], "'x' is not a valid int"),
        (["--seeds", "2", "--resume", "THERE"], "expected --resume alone, got --seeds with it"),
        (["--seeds", "2", "--out", "THERE"], "expected an empty or new run folder"),
        (["--resume", "DAMAGED"], "resume each of its runs separately"),
    ],
)
def test_what_cannot_be_is_one_line(words, said, tmp_path, monkeypatch, capsys):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "seeds.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    places = {"THERE": "there", "DAMAGED": "damaged"}
    assert main(["train", *(places.get(word, word) for word in words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"there", "damaged"}
