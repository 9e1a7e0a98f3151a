"""The scaling program and its picture on a few neurons."""

from __future__ import annotations

import json

import pytest
import torch
from matplotlib.image import imread

from benchmarks import scaling
from benchmarks.floors import kept_mb, traffic_bytes
from benchmarks.pictures import scaling as draw
from benchmarks.workloads import WORKLOADS


def test_the_picture_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scaling, "values", lambda axis, small: (4,))
    monkeypatch.setattr(scaling, "copy_speed", lambda *given: 1e10)
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        given = ["--tiny", "--axis", "T", "--repeats", "1", "--threads", "1"]
        assert scaling.main(["--out", str(tmp_path), *given]) == 0
    torch.set_num_threads(threads)
    (point,) = json.loads((tmp_path / "scaling.json").read_text())["points"]
    assert [row["implementation"] for row in point["rows"]] == ["ours", "relu"]
    assert point["bandwidth_ms"] > 0
    assert imread(tmp_path / "scaling.png").shape[0] > 300
    assert "bandwidth" in capsys.readouterr().out


def test_all_axes_fit_one_picture_with_void_rows_left_out(tmp_path):
    def row(name: str, value: float) -> dict:
        void = name == "ours" and value == 50
        ms = None if void else value
        return {"implementation": name, "median_ms": ms, "min_ms": ms, "max_ms": ms,
                "peak_mb": ms}  # fmt: skip

    points = [
        {"axis": axis, "value": value, "bandwidth_ms": 1.0, "kept_mb": 2.0,
         "rows": [row("ours", value), row("relu", value)]}
        for axis, values in scaling.AXES.items()
        for value in values
    ]  # fmt: skip
    result = {"machine": {"processor": "none"}, "network": "dense", "threads": 2,
              "base": {"T": 100}, "points": points}  # fmt: skip
    image = imread(draw(result, tmp_path / "all.png"))
    assert image.shape[1] > 2 * image.shape[0]


def test_an_axis_changes_one_thing():
    base = WORKLOADS["W2"]
    assert scaling.at(base, "T", 7).steps == 7
    assert scaling.at(base, "N", 7).hidden == (7, 7)
    assert scaling.at(base, "batch", 7).batch == 7
    changed = scaling.at(base, "activity", 0.1)
    assert (changed.density, changed.rate) == (0.1, 0.1)
    assert scaling.at(base, "threads", 1) == base


def test_the_floors_of_the_neuron_scan_are_its_tensors():
    # T=100, B=128, N=1024 in float32 is 52.4 MB: six of them are the 315 MB of the copy.
    scan = WORKLOADS["W4"]
    one = 4 * 100 * 128 * 1024
    assert traffic_bytes(scan) - 2 * one == 6 * one == pytest.approx(315e6, rel=0.01)
    assert kept_mb(scan) == one / 2**20
