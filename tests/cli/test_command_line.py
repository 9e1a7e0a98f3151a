"""The commands: what they print, what they leave, how they fail."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from spikegrad.cli.main import COMMANDS, main
from spikegrad.data import load_digits
from spikegrad.train.config import OPTIONS


@pytest.fixture(scope="module")
def arrays():
    digits = load_digits()
    assert digits.test is not None
    return digits.train, digits.test


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, arrays):
    train, test = arrays
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(
        path,
        x_train=train.x[:300].numpy(),
        y_train=train.y[:300].numpy(),
        x_test=test.x[:50].numpy(),
        y_test=test.y[:50].numpy(),
        scale=16.0,
        class_names=[f"digit {i}" for i in range(10)],
    )
    return path


SMALL = ["--hidden", "64", "--steps", "4", "--epochs", "6", "--batch-size", "20"]
SMALL += ["--learning-rate", "5e-3", "--batch-norm", "--threads", "1", "--no-tensorboard"]


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "--data", str(tiny), "--out", str(folder), *SMALL]) == 0
    return folder


def test_train_leaves_a_whole_run(run):
    files = {path.name for path in run.iterdir()}
    assert files >= {"config.toml", "metrics.jsonl", "result.json", "weights.safetensors"}
    names = json.loads((run / "pictures" / "index.json").read_text())
    assert set(names) == {path.name for path in (run / "pictures").glob("*.png")}
    assert len(names) == 5
    assert json.loads((run / "result.json").read_text())["test_accuracy"] > 0.6


def test_train_prints_a_line_an_epoch_and_a_summary(tiny, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "--data", str(tiny), "--out", str(out), *SMALL, "--epochs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:9] for line in lines if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]
    assert any(line.startswith("test accuracy") for line in lines)
    assert lines[0] == "loading torch and the data of tiny"
    assert "drawing the pictures" in lines
    assert any(line.endswith(f"in {out / 'pictures'}") for line in lines)
    assert any("hidden 1 (layer 3)" in line for line in lines)
    assert lines[-1] == f"measure: spikegrad eval {out}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "tiny: mlp 64, LIF, arctan(slope=2.0)"),
        (["--surrogate", "superspike"], "64, LIF, fast_sigmoid(slope=10.0, normalisation='peak')"),
        (["--model", "conv", "--neuron", "alif"], "tiny: conv 16c-32c-64, ALIF, arctan"),
        (["--model", "article"], "tiny: article 64, CUBALIF, arctan(slope=2.0)"),
    ],
)
def test_the_first_line_says_what_is_built(tiny, tmp_path, capsys, words, said):
    words = ["train", "--data", str(tiny), "--out", str(tmp_path / "run"), *SMALL, *words]
    if "article" in words:
        words = [word for word in words if not word.endswith("batch-norm")]
    assert main([*words, "--epochs", "1"]) == 0
    first = capsys.readouterr().out.splitlines()[1]
    assert first.startswith("training ")
    assert said in first
    assert first.endswith(f"; run folder {tmp_path / 'run'}")


def test_a_run_on_a_file_beside_its_config_is_found_from_elsewhere(tiny, tmp_path, monkeypatch):
    """The path was kept as written and looked for in the folder one happened to be in."""
    (tmp_path / "mine.toml").write_text(f"[data]\ndata = '{os.path.relpath(tiny, tmp_path)}'")
    run = tmp_path / "run"
    words = ["--config", str(tmp_path / "mine.toml"), "--out", str(run), *SMALL, "--epochs", "1"]
    assert main(["train", *words]) == 0
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    assert main(["eval", str(run)]) == 0
    assert main(["train", "--resume", str(run), "--out", "../run"]) == 0


def test_quiet_is_quiet(tiny, tmp_path, capsys):
    words = ["train", "--data", str(tiny), "--out", str(tmp_path / "run"), *SMALL]
    assert main([*words, "--epochs", "1", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_pictures_that_a_kill_left_out_are_drawn_on_resume(run, capsys):
    kept = (run / "weights.safetensors").read_bytes()
    (run / "pictures" / "index.json").unlink()
    (run / "pictures" / "raster.png").unlink()
    assert main(["train", "--resume", str(run)]) == 0
    assert (run / "pictures" / "raster.png").is_file()
    assert "training had finished; no epoch was added" in capsys.readouterr().out
    assert (run / "weights.safetensors").read_bytes() == kept


@pytest.mark.parametrize(("split", "count"), [("test", 50), ("validation", 30), ("train", 270)])
def test_eval(run, capsys, split, count):
    assert main(["eval", str(run), "--split", split]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"loading torch, {run} and its data"
    assert f"{count} samples" in out.splitlines()[1]
    assert "digit 7" in out
    if split == "test":
        accuracy = json.loads((run / "result.json").read_text())["test_accuracy"]
        assert f"accuracy {accuracy:.4f}" in out


def test_eval_writes_damaged_samples_again(run, capsys):
    whole = (run / "samples.npz").read_bytes()
    (run / "samples.npz").write_bytes(whole[:1000])
    assert main(["eval", str(run), "--pictures"]) == 0
    assert "5 pictures in" in capsys.readouterr().out
    with np.load(run / "samples.npz") as held:
        assert held["confusion"].sum() == 50


@pytest.mark.parametrize("kind", ["npy", "npz", "idx"])
def test_predict(run, tiny, arrays, tmp_path, capsys, kind):
    x = arrays[1].x[:50].numpy()
    file = tmp_path / f"samples.{kind}"
    if kind == "npy":
        np.save(file, x)
    elif kind == "npz":
        file = tiny
    else:
        head = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in x.shape)
        file.write_bytes(head + x.astype(np.uint8).tobytes())
    out = tmp_path / "labels.csv"
    assert main(["predict", str(run), str(file), "--out", str(out)]) == 0
    assert "30 more; all of them in" in capsys.readouterr().out.replace("\n", " ")
    with open(out, newline="") as held:
        rows = list(csv.DictReader(held))
    assert len(rows) == 50
    right = np.mean(
        [int(r["label"]) == y for r, y in zip(rows, arrays[1].y.tolist(), strict=False)]
    )
    assert right == json.loads((run / "result.json").read_text())["test_accuracy"]
    assert rows[0]["class"].startswith("digit ")
    assert all(0.1 <= float(row["confidence"]) <= 1.0 for row in rows)


ERRORS = [
    (["train", "mnits"], "unknown data set 'mnits'; did you mean 'mnist'"),
    (["train", "--epochs", "x"], "expected epochs as a whole number, got 'x'"),
    (["train", "--epochs", "0"], "expected epochs >= 1, got 0; give a whole number >= 1, for"),
    (["train", "--beta", "2"], "expected beta < 1, got 2; give a number > 0 and < 1"),
    (["train", "--hidden", "0"], "expected hidden >= 1, got 0; give a whole number >= 1, for"),
    (["train", "--lr", "1"], "unknown option --lr; did you mean --learning-rate?"),
    (["train", "--batch", "1"], "unknown option --batch; did you mean --batch-size?"),
    (["train", "--hidden-size", "1"], "unknown option --hidden-size; did you mean --hidden?"),
    (["train", "--cuda"], "unknown option --cuda; did you mean --device?"),
    (["train", "--threads", "1000000"], "expected threads <= "),
    (["bench", "--threads", "1000000"], "expected threads <= "),
    (["trian"], "unknown command 'trian'; did you mean 'train'?"),
    (["evaluate"], "unknown command 'evaluate'; did you mean 'eval'?"),
    (["predict", "RUN", "PICTURE"], "give an IDX file; other arrays can be .npy or .npz"),
    (["eval", "EMPTY"], "expected the complete config of a run in"),
    (["train", "--neuron", "lfi"], "unknown neuron 'lfi'; did you mean 'lif'"),
    (["train", "--surrogate", "arctn"], "unknown surrogate 'arctn'; did you mean 'arctan'"),
    (["train", "--learn", "tau"], "unknown learn 'tau'"),
    (["train", "--config", "nope"], "unknown recipe 'nope'"),
    (["train", "--config", "nope.toml"], "expected a config file"),
    (["train", "--data", "nope.npz"], "nope.npz"),
    (["train", "--resume", "nope"], "expected a run folder, got nope: nothing there"),
    (["train", "--epoch", "3"], "unknown option --epoch; did you mean --epochs?"),
    (["train", "--zzz"], "unknown option --zzz; (see spikegrad train --help)"),
    (["train", "--objective"], "requires an argument"),
    (["train", "--validation", "5000"], "expected validation below the 1437 training samples"),
    (["train", "--encoder", "delta"], "expected encoder direct or poisson or latency"),
    (["train", "--model", "conv", "--channels", "4,4,4,4,4"], "expected at most 3 stages"),
    (["train", "--hidden", ""], "expected at least one hidden layer"),
    (
        ["train", "--hidden", "12,,3"],
        "expected a value between any two commas of hidden, got '12,,",
    ),
    (["train", "--hidden", "12,"], "of hidden, got '12,'; remove the extra comma"),
    (["train", "mnist", "--data", "nope.npz"], "either the name of a data set or --data with your"),
    (["train", "yin-yang", "--shift", "1"], "expected images for augmentation"),
    (["train", "--beta", "1.5"], "expected beta < 1"),
    (["train", "--device", "tpu"], "unknown device 'tpu'"),
    (["eval", "nope"], "expected a run folder"),
    (["eval", "RUN", "--split", "tset"], "tset"),
    (["predict", "RUN", "nope.npy"], "expected a file of samples"),
    (["predict", "RUN", "TEXT"], "another kind of file or truncated; write it with numpy.save"),
    (["predict", "RUN", "ZIP"], "another kind of file or truncated; write it with numpy.savez"),
    (["predict", "RUN", "WRONG"], "expected samples [N, 8, 8], got [3, 5]"),
    (["train", "--resume", "RUN", "--seed", "99"], "a resumed run may change"),
    (["train", "--resume", "RUN", "--epochs", "1"], "a resumed run may change"),
    (["train", "--resume", "RUN", "--config", "mnist"], "expected --resume alone"),
    (["train", "--resume", "RUN", "--out", "other"], "got --out other; omit --out"),
    (["train", "--model", "conv", "--channels", ""], "expected at least one convolution"),
    (["train", "--model", "article", "--learn", "threshold"], "expected model mlp or recurrent"),
    (["train", "--model", "conv", "--blocks", "1,2,3"], "one number in blocks, or 2: one per"),
    (["train", "--model", "sew_resnet", "--dropout", "0.1"], "expected model mlp or recurrent"),
    (["train", "--model", "sew_resnet", "--hidden", "9"], "expected model mlp or recurrent"),
    (["train", "--model", "sew_resnet", "--readout", "li"], "expected readout linear for model"),
    (["train", "--blocks", "2"], "expected model conv or sew_resnet for blocks"),
    (["train", "--kappa", "1"], "expected neuron alif for kappa, got neuron lif"),
    (["train", "--config", "."], "expected a config file, got .: Is a directory"),
    (["train", "--device", "mps"], "expected a mps device"),
    (["train", "--out", "RUN"], "expected an empty or new run folder"),
    (["tran"], "unknown command 'tran'; did you mean 'train'"),
]


def never(backend):
    raise AssertionError("kernels were built for a run that cannot start")


@pytest.mark.parametrize(("words", "said"), ERRORS, ids=[" ".join(w) for w, _ in ERRORS])
def test_an_error_of_the_user_is_one_line(words, said, run, tmp_path, monkeypatch, capsys):
    """Status 2, one line, no traceback, nothing written, nothing built."""
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(there)
    monkeypatch.setattr("spikegrad.cli.build.make_ready", never)
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "text.npz").write_text("no arrays")
    np.save(tmp_path / "wrong.npy", np.zeros((3, 5)))
    places = {"RUN": run, "TEXT": tmp_path / "text.npy", "WRONG": tmp_path / "wrong.npy"}
    places["ZIP"] = tmp_path / "text.npz"
    (tmp_path / "mine.png").write_bytes(b"\x89PNG and more")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.toml").touch()
    places |= {"PICTURE": tmp_path / "mine.png", "EMPTY": tmp_path / "empty"}
    assert main([str(places.get(word, word)) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == "" or (out.startswith("loading torch") and out.count("\n") == 1)
    assert err.startswith("error: ")
    assert said in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert list(there.iterdir()) == []


def test_a_failed_run_has_status_1(tiny, tmp_path, capsys):
    words = ["train", "--data", str(tiny), "--out", str(tmp_path / "run"), *SMALL, "--quiet"]
    words += ["--optimizer", "sgd", "--learning-rate", "1e38", "--no-batch-norm"]
    assert main([*words, "--preflight", "off"]) == 1
    err = capsys.readouterr().err
    assert "expected a finite loss" in err or "expected finite gradients" in err
    assert len(err.splitlines()) == 1


def test_debug_shows_the_traceback():
    from spikegrad.errors import UserError

    with pytest.raises(UserError):
        main(["--debug", "train", "--epochs", "0"])


def test_help_knows_every_option(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(option.flag in out for name, option in OPTIONS.items() if name != "dataset")
    assert "Training" in out
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)


def test_every_command_has_help(capsys):
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        assert "Usage" in capsys.readouterr().out


def test_help_does_not_wait_for_torch():
    """Reading a help page imports neither torch nor matplotlib."""
    code = (
        "import sys; from spikegrad.cli.main import main\n"
        "status = main(sys.argv[1:]) or main(['train', '--help'])\n"
        "sys.exit(status or ('torch' in sys.modules) or ('matplotlib' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
