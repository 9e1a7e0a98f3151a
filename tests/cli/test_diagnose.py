"""`spikegrad diagnose`: recipes, files, and run folders in every state."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import spikegrad as sg
from spikegrad.cli.main import main
from spikegrad.data import load_digits
from spikegrad.errors import UserError
from spikegrad.report.page import run_content
from spikegrad.train import fit

SMALL = ["--hidden", "16", "--steps", "4", "--epochs", "1", "--batch-size", "50", "--threads", "1"]
SMALL += ["--no-tensorboard", "--preflight", "off", "--quiet", "--no-pictures"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: Any) -> Path:
    there = tmp_path_factory.mktemp("diagnosed")
    digits = load_digits()
    parts = {"x_train": digits.train.x[:100], "y_train": digits.train.y[:100]}
    parts |= {"x_test": digits.test.x[:40], "y_test": digits.test.y[:40]}
    np.savez(there / "tiny.npz", **{name: part.numpy() for name, part in parts.items()}, scale=16.0)
    words = ["train", "--data", str(there / "tiny.npz"), "--out", str(there / "run")]
    assert main([*words, *SMALL]) == 0
    return there / "run"


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


def said(words: list[str], capsys: Any, status: int = 0) -> str:
    assert main(["diagnose", *words]) == status
    out, err = capsys.readouterr()
    return out if status == 0 else out + err


def files(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_recipe_with_changes(capsys: Any) -> None:
    out = said(["digits", "--set", "hidden=32", "--samples", "20"], capsys)
    assert "the network of digits before training" in out
    assert "3 (LIF)" in out
    assert "20 samples" in out
    assert out.splitlines()[-1] == "no finding"


def test_a_field_that_is_none_is_named_with_the_close_ones(capsys: Any) -> None:
    out = said(["digits", "--set", "tresh=3"], capsys, status=2)
    assert "unknown field 'tresh'; did you mean 'threshold'" in out


def test_dropout_draws_as_in_the_first_step(capsys: Any) -> None:
    """It once drew anew in each call: the figures of one config were never the same twice."""
    words = ["digits", "--set", "dropout=0.5", "--samples", "20", "--no-truth", "--json"]
    first, again = (json.loads(said(words, capsys)) for _ in range(2))
    assert first["loss"] == again["loss"]
    assert first == again
    other = json.loads(said([*words, "--set", "seed=1"], capsys))
    assert other["loss"] != first["loss"]


def test_a_dead_network_has_status_1_and_says_what_to_do(capsys: Any) -> None:
    words = ["digits", "--set", "threshold=500", "--set", "batch-norm=false"]
    out = said(words, capsys, status=1)
    assert "error: layer 2 never fires" in out
    assert "so nothing behind it sees the input; use --calibrate 0.05" in out
    assert "repair this first: layer 2 never fires" in out.splitlines()[-1]


def test_json(capsys: Any) -> None:
    out = json.loads(said(["digits", "--json", "--samples", "8"], capsys))
    assert (out["target"], out["ok"], out["samples"]) == ("digits", True, 8)
    assert out["layers"][0]["name"] == "3"
    assert len(out["layers"][0]["gradient"]) == out["steps"]


def test_a_finished_run_is_the_chosen_network_and_nothing_is_written(
    run: Path, capsys: Any
) -> None:
    before = files(run)
    out = json.loads(said([str(run), "--json"], capsys))
    assert out["what"] == f"the network of {run}, chosen after epoch 1"
    assert files(run) == before


def test_a_run_broken_off_is_its_last_checkpoint(run: Path, capsys: Any) -> None:
    (run / "weights.safetensors").unlink()
    (run / "result.json").unlink()
    out = said([str(run)], capsys)
    assert "in training: 1 epochs and 2 steps are done" in out


def test_a_run_without_a_checkpoint_is_its_network_before_training(run: Path, capsys: Any) -> None:
    for name in ("weights.safetensors", "result.json", "checkpoint.pt"):
        (run / name).unlink()
    assert "before training: there is no checkpoint yet" in said([str(run)], capsys)


def _checkpoint(run: Path, state: Any) -> None:
    (run / "weights.safetensors").unlink()
    torch.save(state, run / "checkpoint.pt")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: _checkpoint(run, {"format": 99}), "expected a checkpoint of format 1 in"),
        (lambda run: _checkpoint(run, {"format": 1}), "expected the state of this run in"),
        (
            lambda run: (run / "weights.safetensors").write_bytes(b"half"),
            "expected complete weights in",
        ),
        (lambda run: (run / "config.toml").write_text("[network]\nnew_field = 1"), "new_field"),
        (lambda run: (run / "config.toml").unlink(), "a folder without config.toml"),
        (lambda run: (run / "config.toml").write_text("[data]\n"), "expected the complete config"),
    ],
)
def test_a_run_of_another_version_or_damaged_is_one_line(
    damage: Any, words: str, run: Path, capsys: Any
) -> None:
    damage(run)
    assert main(["diagnose", str(run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nothing"], "unknown recipe 'nothing'"),
        (["digits", "--set", "slope"], "expected FIELD=VALUE, got 'slope'"),
        (["digits", "--set", "slopes=3"], "did you mean 'slope'"),
        (["digits", "--set", "slope=steep"], "expected slope as a number"),
        (["digits", "--samples", "0"], "--samples"),
    ],
)
def test_what_is_given_wrong_is_one_line(words: list[str], line: str, capsys: Any) -> None:
    assert main(["diagnose", *words]) == 2
    (err,) = capsys.readouterr().err.splitlines()
    assert line in err


def test_a_config_that_needs_no_repair_is_written_as_it_was(tmp_path: Path, capsys: Any) -> None:
    assert main(["diagnose", "digits", "--fix", "--write", str(tmp_path / "same.toml")]) == 0
    said_so = capsys.readouterr()
    assert "no setting was repaired" in said_so.out + said_so.err
    assert (tmp_path / "same.toml").is_file()


def test_fix_shows_before_and_after_and_the_command_that_trains_so(
    tmp_path: Path, capsys: Any
) -> None:
    words = ["digits", "--set", "threshold=50", "--set", "batch-norm=false", "--fix"]
    out = said([*words, "--write", str(tmp_path / "fixed.toml")], capsys)
    before, after = out.split("after it")
    assert "error: layer 2 never fires" in before
    assert "repair: layer 2: weights times " in before
    assert "error" not in after
    (line,) = [each for each in after.splitlines() if each.startswith("to train so: ")]
    flags = "--no-batch-norm --calibrate 0.05 --threshold 50.0"
    assert line == f"to train so: spikegrad train --config digits {flags}"
    found = json.loads(said([str(tmp_path / "fixed.toml"), "--json"], capsys))
    assert found["ok"]
    assert found["layers"][0]["rate"] == pytest.approx(0.05, rel=0.06)


def test_fix_is_what_the_settings_make_of_it(capsys: Any) -> None:
    """The slope and the temperature as the config has them: what is shown is what is trained."""
    words = ["digits", "--set", "readout=spikes", "--set", "objective=rate_ce"]
    words += ["--set", "slope=3000", "--json", "--fix"]
    found = json.loads(said(words, capsys))
    assert set(found["fix"]["options"]) == {"slope", "temperature"}
    slope = found["fix"]["options"]["slope"]
    assert slope < 2
    assert f"slope={slope}" in found["fix"]["after"]["layers"][0]["surrogate"]
    assert found["fix"]["after"]["floor"] < found["floor"]
    assert not found["ok"]
    assert found["fix"]["after"]["ok"]


def test_the_truth_meter(capsys: Any) -> None:
    words = ["digits", "--set", "hidden=32", "--samples", "20"]
    out = said(words, capsys)
    assert "surrogate gradient against the exact gradient of the expected loss" in out
    assert "by common random numbers, 128 units a sample, 4 samples, 16 draws, 128 flips" in out
    assert "exact gradient" not in said([*words, "--no-truth"], capsys)
    found = json.loads(said([*words, "--json"], capsys))["truth"]
    assert [layer["name"] for layer in found["layers"]] == ["1", "2", "5"]
    assert found["layers"][2]["noisy"]["cosine"] == pytest.approx(1.0, abs=1e-4)
    assert 0.0 < found["layers"][0]["trained"]["cosine_error"] < 1.0
    assert main(["diagnose", *words, "--fix", "--truth"]) == 2
    assert "expected either --fix or --truth" in capsys.readouterr().err


def test_fix_of_a_run_repairs_a_copy(run: Path, capsys: Any) -> None:
    before = files(run)
    out = said([str(run), "--fix"], capsys)
    assert "nothing to repair safely" in out
    assert files(run) == before


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["digits", "--write", "new.toml"], "expected --fix with --write, got none; add --fix"),
        (["digits", "--fix", "--write", "there.toml"], "expected a new file for --write"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_done(
    words: list[str], line: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.toml").write_text("")
    assert main(["diagnose", *words]) == 2
    assert line in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.toml"]


def test_changes_to_a_run_are_refused(run: Path, capsys: Any) -> None:
    assert main(["diagnose", str(run), "--set", "slope=3"]) == 2
    err = capsys.readouterr().err
    assert "expected a run as it was trained, got slope changed" in err
    assert str(run / "config.toml") in err
    out = said([str(run / "config.toml"), "--set", "slope=3"], capsys)  # as it advises
    assert "before training" in out


def test_a_regression_of_ones_own_network_is_what_its_files_say(
    tmp_path: Path, capsys: Any
) -> None:
    torch.manual_seed(0)
    network = sg.Sequential(sg.Linear(4, 8), sg.LIF(10.0, threshold=99.0), sg.Linear(8, 2))
    x, y = 3 * torch.rand(20, 4), torch.rand(20, 2)
    where = tmp_path / "own"
    fit(network, [(x, y)], val_loader=[(x, y)], objective=torch.nn.MSELoss(), epochs=2, out=where,
        progress=False, preflight="off", tensorboard=False)  # fmt: skip
    out = said([str(where)], capsys, status=1)
    assert "a run of fit() with a network of your own" in out
    assert "spikegrad.diagnose.health(spikegrad.load(RUN, network), (x, labels), loss=...)" in out
    assert "never fires" in out
    assert main(["diagnose", str(where), "--fix"]) == 2
    assert "use spikegrad.diagnose.fix(network, " in capsys.readouterr().err
    (where / "samples.npz").unlink()
    assert "there is no samples.npz: nothing is known of its layers" in said([str(where)], capsys)


def test_what_is_kept_of_a_run_is_in_its_report(run: Path, capsys: Any) -> None:
    def shown() -> dict[str, Any]:
        tabs = {each["id"]: each for each in run_content(run)["tabs"]}
        return tabs["layers"]["blocks"][-1]

    assert "--truth --keep" in shown()["paragraphs"][0]
    before = files(run)
    out = said([str(run), "--truth", "--keep"], capsys)
    assert "diagnosis.json is written" in " ".join(out.split())
    assert files(run).keys() - before.keys() == {run / "diagnosis.json"}
    truth = json.loads((run / "diagnosis.json").read_text())["truth"]
    table = shown()
    assert [row[:3] for row in table["rows"]] == [
        [each["name"], each["parameters"], each["trained"]["cosine"]] for each in truth["layers"]
    ]
    assert "chosen after epoch 1" in table["note"]
    (run / "diagnosis.json").write_text("[")
    with pytest.raises(UserError, match=r"expected JSON in .*diagnosis.json"):
        run_content(run)


def test_only_what_belongs_to_a_run_is_kept(run: Path, capsys: Any) -> None:
    for words, expected in (
        (["digits", "--keep"], "expected a run folder with --keep"),
        ([str(run), "--keep", "--fix"], "expected either --keep or --fix"),
    ):
        assert expected in said(words, capsys, status=2)
    assert not (run / "diagnosis.json").exists()
