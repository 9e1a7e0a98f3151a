"""The shipped study: its plans, what it says of shape and scale, and its command."""

from __future__ import annotations

import json

import pytest

from spikegrad.cli.main import main
from spikegrad.compare import Comparison, Outcome, studies
from spikegrad.compare.studies import STUDIES, Study, contrasts, study
from spikegrad.errors import UserError
from spikegrad.surrogate import get


@pytest.mark.parametrize("name", STUDIES)
def test_every_plan_can_be_made_and_its_shapes_have_the_same_width(name):
    plans = study(name).plans({"epochs": 1})
    assert list(plans) == ["yin-yang", "randman"]
    for plan in plans.values():
        assert {variant.config.training.epochs for variant in plan.variants} == {1}
        widths = {}
        for variant in plan.variants:
            s = variant.settings
            record = get(s["surrogate"], s["slope"], normalisation=s["surrogate_normalisation"])
            widths.setdefault(round(record.properties().fwhm, 4), set()).add(s["surrogate"])
        assert [len(shapes) for shapes in widths.values()] == [3, 3, 3]


def test_the_contrasts_tell_shape_from_scale():
    """Accuracies made so: shape adds 0.01, width 0.1, height 0.3, and a seed what it will."""
    plan = study("shape-against-scale").plans()["yin-yang"]
    shapes, heights = ["triangle", "sigmoid", "fast_sigmoid"], ["area", "peak"]
    outcomes = {}
    for i, variant in enumerate(plan.variants):
        s, width = variant.settings, i // 6  # slopes in the outer loop
        value = 0.1 + 0.01 * shapes.index(s["surrogate"]) + 0.1 * width
        value += 0.3 * heights.index(s["surrogate_normalisation"])
        for seed in plan.seeds:
            noise = 1e-6 * ((7 * i + 3 * seed) % 5)
            outcomes[(i, seed)] = Outcome(test_accuracy=value + 0.02 * seed + noise)
    rows = contrasts(Comparison(plan, outcomes))
    found = {(row.what, row.where): row for row in rows}
    for slope in (2, 10, 50):
        for height in ("peak 1", "area 1"):
            row = found["shape", f"slope {slope}, {height}"]
            assert (row.pairs, row.shown) == (3, 3)
            assert row.largest == pytest.approx(0.02, abs=1e-4)
        assert found["height", f"slope {slope}"].largest == pytest.approx(0.3, abs=1e-4)
    assert found["width", "peak 1"].largest == pytest.approx(0.2, abs=1e-4)
    assert found["width", "peak 1"].pairs == 9
    assert len(rows) == 6 + 3 + 2


def test_the_command_runs_draws_and_goes_on(tmp_path, monkeypatch, capsys):
    tiny = Study(
        question="does it?",
        source="nobody",
        shared={
            "surrogates": ["arctan", "triangle"], "slopes": [1.0, 4.0], "equal": "fwhm",
            "vary": {"surrogate_normalisation": ["peak", "area"]}, "seeds": 2,
            "options": {"hidden": (8,), "tensorboard": False, "preflight": "off"},
        },
        own={"digits": {"epochs": 1, "steps": 2}},
    )  # fmt: skip
    monkeypatch.setitem(studies.STUDIES, "tiny", tiny)
    out = tmp_path / "out"
    words = ["compare", "--study", "tiny", "--out", str(out), "--workers", "1"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "does it? (nobody)" in shown
    assert "shape" in shown
    assert "height" in shown
    assert (out / "study.png").read_bytes()[:4] == b"\x89PNG"
    assert main([*words, "--json"]) == 0
    out_text, err = capsys.readouterr()
    assert "16 of 16 are there already" in err
    data = json.loads(out_text)
    assert len(data["contrasts"]["digits"]) == 4 + 2 + 2
    assert len(data["comparisons"][0]["trials"]) == 16


def test_what_is_wrong_with_a_study_is_said(capsys):
    with pytest.raises(UserError, match="did you mean 'shape-against-scale'"):
        study("shape-against-scales")
    for words, said in (
        (["--study", "shape"], "unknown study 'shape'"),
        (["digits", "--study", "shape-against-scale"], "--study alone, got digits"),
        (["--study", "shape-against-scale", "--resume", "x"], "got --resume with it"),
        (["--study", "shape-against-scale", "--slopes", "1"], "got --slopes"),
    ):
        assert main(["compare", *words]) == 2
        assert said in capsys.readouterr().err
