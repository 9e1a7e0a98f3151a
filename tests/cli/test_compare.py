"""`spikegrad compare` and `spikegrad runs`: what people see, exit statuses, and the way back."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from spikegrad.cli.main import main
from spikegrad.data import load_digits

SMALL = ["--hidden", "12", "--steps", "3", "--epochs", "2", "--batch-size", "40"]
SMALL += ["--validation", "0.2", "--no-tensorboard", "--preflight", "off", "--workers", "1"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    digits = load_digits()
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    train, test = digits.train, digits.test
    names = {"x_train": train.x[:160], "y_train": train.y[:160]}
    names |= {"x_test": test.x[:60], "y_test": test.y[:60]}
    np.savez(path, scale=16.0, **{name: value.numpy() for name, value in names.items()})
    return path


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """A comparison of two variants with two seeds."""
    out = tmp_path_factory.mktemp("runs") / "c"
    words = ["compare", "--data", str(tiny), "--surrogates", "arctan,triangle", "--seeds", "2"]
    assert main([*words, *SMALL, "--out", str(out), "--quiet"]) == 0
    return out


def test_the_table_fills_and_ends_in_a_ranking(tiny, tmp_path, capsys):
    out = tmp_path / "c"
    words = ["compare", "--data", str(tiny), "--vary", "hidden=8,12+8", "--seeds", "2"]
    small = [word for word in SMALL if word not in ("--hidden", "12")]
    assert main([*words, *small, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert f"tiny: 2 variants, 2 seeds each, 4 runs; in {out}" in shown
    for name in ("hidden 8", "hidden 12+8"):
        for seed in (0, 1):
            assert re.search(rf"[1-4] of 4.*{re.escape(name)}, seed {seed}: test accuracy", shown)
    assert re.search(r"rank +variant +test accuracy +minus the best +p", shown)
    assert "best mean" in shown
    assert "paired t-test over the seeds, all pairs, Holm's" in " ".join(shown.split())


def test_json_is_the_only_thing_on_stdout(tiny, tmp_path, capsys):
    words = ["compare", "--data", str(tiny), "--seeds", "1", "--out", str(tmp_path / "c")]
    assert main([*words, *SMALL, "--json"]) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert data["complete"] is True
    assert data["variants"][0]["figures"]["test_accuracy"]["n"] == 1
    assert "1 variants" in err


def test_a_comparison_is_shown_again(folder, capsys):
    assert main(["compare", f"{folder}/"]) == 0
    assert "best mean" in capsys.readouterr().out
    assert main(["compare", f"{folder}/", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] == [0, 1]


def test_runs_are_set_side_by_side(folder, capsys):
    runs = sorted(str(path) for path in folder.glob("*/seed-*"))
    assert main(["compare", *runs]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"surrogate +arctan +arctan +triangle +triangle", shown)
    assert re.search(r"seed +0 +1 +0 +1", shown)
    assert re.search(r"test accuracy +[01]\.\d{4}", shown)
    assert "epochs done" in shown
    assert re.search(r"rank +variant", shown)  # seeds that are shared
    assert main(["compare", *runs[:2], "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["differing"] == ["seed"]
    assert data["comparison"] is None


def test_a_narrow_list_keeps_names_whole_and_says_what_it_leaves_out(folder, capsys, monkeypatch):
    """Names were in pieces, and the last figures were cut off without a word."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["runs", str(folder)]) == 0
    narrow = capsys.readouterr().out
    for path in folder.glob("*/seed-*"):
        assert str(path.relative_to(folder)) in narrow
    assert "s per epoch, for want of room" in narrow
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["runs", str(folder)]) == 0
    wide = capsys.readouterr().out
    assert "for want of room" not in wide
    assert "s per" in wide


def test_the_list_of_runs(folder, capsys):
    assert main(["runs", str(folder.parent)]) == 0
    shown = capsys.readouterr().out
    assert "c: comparison: 2 variants, 2 seeds: 4 runs finished" in shown
    inside = next(folder.glob("01-*"))
    assert main(["runs", str(inside)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"run +seed +epochs +accuracy", shown)
    assert re.search(r"seed-1 +1 +2 +0\.\d{4}", shown)
    assert main(["runs", str(inside), "--json"]) == 0
    assert [each["state"] for each in json.loads(capsys.readouterr().out)] == ["finished"] * 2


def test_damaged_folders_are_lines(folder, tmp_path, capsys):
    whole = next(folder.glob("01-*/seed-0"))
    bad = tmp_path / "[bold]bad\x1b[31m"
    bad.mkdir()
    (bad / "config.toml").write_text("[network]\nhidn = 3\n")
    assert main(["compare", str(whole), str(bad)]) == 1
    out, err = capsys.readouterr()
    assert "unknown option of [network]" in out
    assert "\x1b" not in out + err
    assert "1 of 2 folders cannot be read" in err
    assert main(["runs", str(tmp_path)]) == 0
    assert "damaged: unknown option" in capsys.readouterr().out
    damaged = tmp_path / "c"
    damaged.mkdir()
    (damaged / "comparison.json").write_text('{"form": 99, "spikegrad": "9.0"}')
    assert main(["compare", "--resume", str(damaged)]) == 2
    assert "form 99 of spikegrad 9.0" in capsys.readouterr().err
    (damaged / "comparison.json").write_text('{"variants": [')
    assert main(["compare", f"{damaged}/"]) == 2
    assert "expected a complete" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["digits", "--vary", "lr=1,2"], "did you mean 'learning_rate'"),
        (["digits", "--vary", "epochs"], "FIELD=VALUE"),
        (["digits", "--surrogates", "arctn"], "did you mean 'arctan'"),
        (["digits", "--surrogates", "arctan,,boxcar"], "between any two commas"),
        (["digits", "--slopes", "1,x"], "expected slope as a number"),
        (["digits", "--equal", "width"], "unknown quantity to be equal"),
        (["digits", "--surogates", "arctan"], "did you mean --surrogates"),
        (["digits", "--seeds", "0"], "seeds >= 1"),
        (["digits", "--workers", "0", "--seeds", "1"], "workers >= 1"),
        (["dgits"], "did you mean 'digits'"),
        (["digits", "mnist"], "expected one data set, or run folders"),
        (["--resume", "nowhere"], "nothing there"),
        (["digits", "--resume", "nowhere"], "--resume alone"),
        (["--resume", "nowhere", "--epochs", "3"], "expected no settings here, got --epochs"),
    ],
)
def test_what_is_wrong_is_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_settings_beside_folders_are_refused(folder, capsys):
    assert main(["compare", f"{folder}/", "--epochs", "3"]) == 2
    assert "expected no settings here, got --epochs" in capsys.readouterr().err
    assert main(["runs", f"{folder}-not"]) == 2
    assert "nothing there" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--surrogates", "arctan,superspike", "--slopes", "1,10", "--equal", "peak,fwhm"]
    assert main(["compare", "digits", *words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "superspike, slope 0.414214" in shown  # 2 (sqrt 2 - 1) / 2
    assert "20 runs; nothing was run" in shown
    assert list(tmp_path.iterdir()) == []


def test_a_failing_variant_is_a_row_and_exit_status_1(tiny, tmp_path, capsys):
    words = ["compare", "--data", str(tiny), "--vary", "learning_rate=1e37,1e-3", "--seeds", "1"]
    assert main([*words, *SMALL, "--out", str(tmp_path / "c")]) == 1
    out, err = capsys.readouterr()
    assert "no result" in out
    assert "1 failed: " in out
    assert "1 of 2 runs failed" in err
    assert f"--resume {tmp_path / 'c'}" in err


def test_a_signal_saves_and_says_how_to_go_on(tiny, tmp_path):
    out = tmp_path / "c"
    words = ["compare", "--data", str(tiny), "--seeds", "1", *SMALL, "--out", str(out)]
    words[words.index("--epochs") + 1] = "500"
    words[words.index("--workers") + 1] = "2"
    words += ["--surrogates", "arctan,triangle"]
    command = [sys.executable, "-m", "spikegrad"]
    with subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True) as other:
        end = time.monotonic() + 120
        while len(list(out.glob("*/*/metrics.jsonl"))) < 2:
            assert time.monotonic() < end
            assert other.poll() is None
            time.sleep(0.05)
        other.send_signal(signal.SIGTERM)
        err = other.communicate(timeout=120)[1]
    assert other.returncode == 143
    assert f"continue with: spikegrad compare --resume {out}" in err
    for run in out.glob("*/*/"):
        assert (run / "checkpoint.pt").is_file()
        assert not (run / "result.json").exists()
