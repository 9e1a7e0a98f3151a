"""The page of a run: what is in it, for every kind of run; what is refused; nothing is executed."""

from __future__ import annotations

import base64
import json
import re
import shutil

import numpy as np
import pytest
import torch
from runs import ATTACK, made

import spikegrad as sg
from spikegrad.cli.main import main
from spikegrad.errors import RunError, UserError
from spikegrad.report import write_report
from spikegrad.report.page import html, run_content
from spikegrad.report.page.parts import cleaned, packed, packed_bits
from spikegrad.surrogate import get, names
from spikegrad.train.batch import Batch
from spikegrad.train.behind import Behind, shown
from spikegrad.train.measures import table_of
from spikegrad.train.objective import Objective

KINDS = ["classes", "regression", "no spikes", "silent", "one"]
EVERY = ["overview", "curves", "surrogate", "spikes", "membranes", "layers"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    there = tmp_path_factory.mktemp("runs")
    return {kind: made(there / kind.replace(" ", "-"), kind) for kind in KINDS}


@pytest.fixture
def run(runs, tmp_path):
    return shutil.copytree(runs["classes"], tmp_path / "run")


def tabs(content):
    return {tab["id"]: tab["blocks"] for tab in content["tabs"]}


def block(content, tab, kind):
    return next(each for each in tabs(content)[tab] if each["kind"] == kind)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("classes", [*EVERY, "confusion", "findings", "network", "settings"]),
        ("regression", [*EVERY, "predictions", "findings", "network", "settings"]),
        ("no spikes", ["overview", "curves", "layers", "confusion", "findings", "settings"]),
        ("silent", [*EVERY, "confusion", "findings", "network", "settings"]),
        ("one", [*EVERY, "confusion", "findings", "network", "settings"]),
    ],
)
def test_every_kind_of_run_has_its_page(runs, kind, expected):
    content = run_content(runs[kind])
    assert list(tabs(content)) == expected
    assert content["state"] == "finished"
    json.dumps(content, allow_nan=False)
    page = html(content)
    assert page.count("</script>") == 3  # content, library, script: nothing else ends one
    assert len(page) < 5.4e6


def test_the_curves_are_those_of_the_metrics(runs):
    lines = [
        json.loads(line) for line in (runs["classes"] / "metrics.jsonl").read_text().splitlines()
    ]
    loss = next(b for b in tabs(run_content(runs["classes"]))["curves"] if b["id"] == "curve-loss")
    assert {s["name"]: s["y"] for s in loss["series"]} == {
        "training": [line["train_loss"] for line in lines],
        "validation": [line["val_loss"] for line in lines],
    }


def test_gradient_norms_of_layers_are_in_the_metrics(runs):
    line = json.loads((runs["classes"] / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(line["gradient_norms"]) == {"0", "2", "4"}
    assert all(norm > 0 for norm in line["gradient_norms"].values())
    whole = sum(norm**2 for norm in line["gradient_norms"].values()) ** 0.5
    # One batch in ten is watched: of this epoch the first of three.
    assert 0.2 < whole / line["gradient_norm"] < 5


def test_the_energy_is_that_of_the_operations(runs):
    held = json.loads((runs["classes"] / "measures.json").read_text())["network"]
    first, second = held["rows"][0], held["rows"][2]
    assert first["events"] is False  # its input are numbers
    assert first["energy"] == pytest.approx(first["synops"] * 4.6e-12)
    assert second["events"] is True
    assert second["energy"] == pytest.approx(second["synops"] * 0.9e-12)
    assert held["dense_energy"] == pytest.approx((12 * 16 + 16 * 8 + 8 * 3) * 4.6e-12)


def test_distances_and_rates_are_those_of_the_network(runs):
    layer = json.loads((runs["classes"] / "measures.json").read_text())["health"]["layers"][0]
    held = layer["distances"]
    assert sum(held["counts"]) + held["below"] + held["above"] == 16 * 6 * 16
    assert held["low"] <= 0 <= held["high"]
    assert np.mean(layer["rates"]) == pytest.approx(layer["rate"])
    at = np.linspace(held["low"], held["high"], len(held["counts"]) + 1)
    above = np.array(held["counts"])[at[:-1] >= 0].sum() + held["above"]
    assert above / (16 * 6 * 16) == pytest.approx(layer["rate"], abs=0.05)  # a bin holds both


@pytest.mark.parametrize("name", names(aliases=False))
def test_a_table_gives_the_surrogate_at_every_slope(name):
    """What the page computes from the table, done here by hand, against the surrogate itself."""
    surrogate = get(name, normalisation="peak", gain=1.5)
    table = table_of(surrogate)
    z, p = np.array(table["z"]), np.array(table["p"])
    x = torch.linspace(-2.0, 2.0, 101, dtype=torch.float64) + 1e-3
    slopes = (0.5, 3.0, 20.0) if table["has_slope"] else (surrogate.slope,)
    for k in slopes:
        at = surrogate.with_slope(k) if table["has_slope"] else surrogate
        found = 1.5 / table["peak"] * np.interp(k * x.numpy(), z, p)
        np.testing.assert_allclose(found, at.derivative(x).numpy(), atol=4e-3)
        if table["P"] is not None and table["has_slope"]:
            whole = 1.5 / (k * table["peak"]) * np.interp(k * x.numpy(), z, table["P"])
            np.testing.assert_allclose(whole, at.primitive(x).numpy(), atol=4e-3)


def test_a_learned_slope_is_the_one_in_force(tmp_path):
    layer = sg.LIF(10.0, learn="slope", size=3)
    slopes = torch.tensor([1.0, 2.0, 6.0])
    table = table_of(layer.surrogate, slopes)
    assert table["slope"] == pytest.approx(3.0)
    assert table["slopes"] == [1.0, 6.0]


def test_samples_behind_a_cell_are_those_that_were_taken_so(runs):
    run = runs["classes"]
    cells = json.loads((run / "measures.json").read_text())["cells"]
    confusion = block(run_content(run), "confusion", "confusion")
    with np.load(run / "samples.npz") as held:
        predictions = held["predictions"].tolist()
    for cell in cells:
        assert cell["true"] == cell["sample"] % 3  # how the labels were made
        if cell["sample"] < len(predictions):
            assert cell["predicted"] == predictions[cell["sample"]]
        assert cell["scores"][0][0] == cell["predicted"]
    for i, row in enumerate(confusion["counts"]):
        for j, count in enumerate(row):
            kept = [c for c in cells if (c["true"], c["predicted"]) == (i, j)]
            assert len(kept) == min(count, 3 if i == j else 8)


def test_a_sample_is_kept_as_a_small_image_or_as_its_values():
    image = torch.arange(12.0).reshape(1, 3, 4)
    found = shown(image)
    assert (found["height"], found["width"]) == (3, 4)
    grey = np.frombuffer(base64.b64decode(found["image"]), np.uint8)
    np.testing.assert_array_equal(grey, np.round(np.arange(12) / 11 * 255))
    assert shown(torch.tensor([0.5, 1.0])) == {"values": [0.5, 1.0]}
    wide = shown(torch.rand(1, 300, 200))
    assert max(wide["height"], wide["width"]) <= 64
    assert shown(torch.zeros(3, 5)) == {}  # an image of one grey shows nothing
    over_time = shown((torch.rand(7, 30) < 0.5).float())
    assert (over_time["height"], over_time["width"]) == (30, 7)  # neurons up, time to the right


def test_targets_of_a_regression_are_kept_beside_the_predictions():
    behind = Behind()
    targets, scores = torch.rand(4, 2), torch.rand(4, 2)
    scores[0, 0] = float("nan")
    behind.add(Objective("membrane_mean"), Batch(torch.rand(4, 9), targets, None), scores)
    pairs = behind.data()["pairs"]
    assert len(pairs) == 7
    expected = [[float(targets[0, 1]), float(scores[0, 1])]]
    np.testing.assert_allclose(pairs[:1], expected, rtol=1e-6)


def test_what_a_user_named_is_text(runs):
    page = html(run_content(runs["classes"]))
    assert ATTACK not in page
    assert "<b>bold" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    held = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    content = json.loads(held.group(1))
    assert block(content, "confusion", "confusion")["classes"][0] == ATTACK


def test_the_policy_admits_the_scripts_of_the_page_and_no_other(runs):
    import hashlib

    page = html(run_content(runs["classes"]))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    digests = set(re.findall(r"sha256-([A-Za-z0-9+/=]+)", policy))
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    made = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts}
    assert digests == made
    assert len(made) == 2
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    assert "connect-src &#39;none&#39;" in policy


def test_a_run_in_training_has_a_page_of_what_there_is(run):
    for name in ("result.json", "samples.npz", "measures.json", "weights.safetensors"):
        (run / name).unlink()
    content = run_content(run)
    assert content["state"] == "training"
    progress = block(content, "overview", "progress")
    assert (progress["done"], progress["total"]) == (2, 2)
    (run / "metrics.jsonl").unlink()
    assert block(run_content(run), "overview", "progress")["done"] == 0


def test_a_run_of_an_older_version_has_a_page_without_measures(run):
    (run / "measures.json").unlink()
    content = run_content(run)
    assert {"surrogate", "network"} & set(tabs(content)) == set()
    assert "spikes" in tabs(content)
    assert any("measures.json is missing" in note for note in content["notes"])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("measures.json", "{", "expected JSON in"),
        ("measures.json", "[]", "expected an object in"),
        ("measures.json", '{"surrogates": {"1": {}}}', "expected files of spikegrad"),
        ("measures.json", '{"health": {"layers": [3]}}', "expected files of spikegrad"),
        ("measures.json", '{"cells": [{"true": 1}]}', "expected files of spikegrad"),
        ("findings.json", "{}", "expected a list in"),
        ("result.json", '{"best', "expected JSON in"),
        ("metrics.jsonl", "nonsense\n{}", "expected JSON on line 1"),
        ("samples.npz", "PK", "expected arrays in"),
    ],
)
def test_a_damaged_file_is_one_clear_line_and_the_old_page_stays(run, name, text, said, capsys):
    before = write_report(run).read_bytes()
    (run / name).write_text(text)
    with pytest.raises(UserError, match=re.escape(said)):
        write_report(run)
    assert main(["report", str(run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert (run / "report.html").read_bytes() == before


def test_a_damaged_config_is_shown_as_it_is(run):
    (run / "config.toml").write_text("[data\nx = <b>")
    content = run_content(run)
    assert any("config.toml is damaged" in note for note in content["notes"])
    assert "[data" in json.dumps(tabs(content)["settings"])


def test_a_page_that_cannot_be_written_is_an_error_and_leaves_nothing(run, monkeypatch):
    import os

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match="No space left"):
        write_report(run)
    assert not list(run.glob(".*.tmp"))


def test_report_on_the_command_line(run, capsys):
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert main(["report", "nowhere"]) == 2
    assert "expected a run folder, got nowhere" in capsys.readouterr().err


def test_train_writes_a_report_unless_told_not_to(tmp_path, capsys):
    small = ["--hidden", "8", "--steps", "2", "--epochs", "1", "--threads", "1", "--no-tensorboard"]
    words = ["train", *small, "--no-pictures", "--out"]
    assert main([*words, str(tmp_path / "a")]) == 0
    assert f"report:  {tmp_path / 'a' / 'report.html'}" in capsys.readouterr().out
    page = tmp_path / "a" / "report.html"
    first = page.stat().st_mtime_ns
    page.unlink()
    assert main(["train", "--resume", str(tmp_path / "a"), "--no-pictures"]) == 0
    assert page.stat().st_mtime_ns > first  # of a finished run it is written where it is missing
    assert main([*words, str(tmp_path / "b"), "--no-report"]) == 0
    assert not (tmp_path / "b" / "report.html").exists()


def test_writing_a_report_needs_no_torch(run):
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from spikegrad.cli.main import main\n"
        f"status = main(['report', {str(run)!r}])\n"
        "sys.exit(status or 'torch' in sys.modules or 'plotly' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_arrays_travel_as_text():
    values = np.arange(6, dtype=np.float64).reshape(1, 2, 3) / 7
    held = packed(values)
    back = np.frombuffer(base64.b64decode(held["data"]), "<f4").reshape(held["shape"])
    np.testing.assert_allclose(back, values, rtol=1e-6)
    bits = np.array([1, 0, 0, 1, 1, 0, 0, 0, 1])
    held = packed_bits(bits)
    assert np.unpackbits(np.frombuffer(base64.b64decode(held["data"]), np.uint8))[:9].tolist() == [
        *bits
    ]
    assert cleaned([np.float32("nan"), "a\x00", {1: {2}}]) == [None, "a\\x00", {"1": "{2}"}]
