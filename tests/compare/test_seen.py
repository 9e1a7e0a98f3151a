"""Runs that are there: what differs, what is damaged, and those that make a comparison."""

from __future__ import annotations

import json
import shutil

import pytest
from small_runs import SMALL

from spikegrad.compare.grouped import grouped
from spikegrad.compare.seen import differing, find, look, together
from spikegrad.errors import UserError
from spikegrad.train import resolve
from spikegrad.train.app import train_run


@pytest.fixture(scope="module")
def held(tiny, tmp_path_factory):
    """Two settings with two seeds, finished."""
    place = tmp_path_factory.mktemp("runs")
    for hidden in (8, 12):
        for seed in (0, 1):
            options = {**SMALL, "data": str(tiny), "hidden": (hidden,), "seed": seed}
            train_run(resolve(options), place / f"h{hidden}-{seed}", progress=False)
    return place


@pytest.fixture
def runs(held, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(held, tmp_path / "runs")
    return tmp_path / "runs"


def test_finished_runs_have_figures_and_what_differs_is_named(runs):
    found = find(runs)
    assert [each.path.name for each in found] == ["h8-0", "h8-1", "h12-0", "h12-1"]
    assert {each.state for each in found} == {"finished"}
    assert differing(found) == ["hidden", "seed"]
    for each in found:
        result = json.loads((each.path / "result.json").read_text())
        assert each.outcome.test_accuracy == result["test_accuracy"]
        assert each.problem == ""


def test_runs_with_shared_seeds_make_a_comparison(runs):
    found = grouped(find(runs))
    assert [variant.name for variant in found.plan.variants] == ["hidden 8", "hidden 12"]
    assert found.plan.seeds == (0, 1)
    assert found.spread(0, "test_accuracy").n == 2
    assert found.ranking()[1].best.p is not None
    assert grouped(find(runs)[:2]) is None  # one variant
    assert grouped(find(runs)[1:3]) is None  # no seed that both have
    shutil.copytree(runs / "h8-0", runs / "h8-0-again")
    assert grouped(find(runs)) is None  # the same run twice


DAMAGE = {
    "no config.toml": lambda run: (run / "config.toml").unlink(),
    "it may be of another version": lambda run: (run / "config.toml").write_text(
        (run / "config.toml").read_text().replace("hidden =", "hiddn =")
    ),
    "no table": lambda run: (run / "config.toml").write_text("[data]\n"),
    "expected TOML": lambda run: (run / "config.toml").write_text("[data"),
    "not UTF-8": lambda run: (run / "config.toml").write_bytes(b"\xff\x00"),
    "result.json": lambda run: (run / "result.json").write_text('{"epochs": '),
    "best_epoch": lambda run: (run / "result.json").write_text("{}"),
    "metrics.jsonl": lambda run: (run / "metrics.jsonl").write_text('{"epoch": 1}\n{"ep'),
    "findings.json": lambda run: (run / "findings.json").write_text("["),
}


@pytest.mark.parametrize("words", DAMAGE)
def test_a_damaged_folder_is_one_line_and_the_others_are_read(words, runs):
    if words == "findings.json":
        (runs / "h8-1" / "findings.json").write_text("[]")
    DAMAGE[words](runs / "h8-1")
    found = {each.path.name: each for each in find(runs)}
    assert found["h8-1"].state == "damaged"
    assert words in found["h8-1"].problem
    assert "\n" not in found["h8-1"].problem
    assert ";;" not in found["h8-1"].problem
    others = [each for name, each in found.items() if name != "h8-1"]
    assert [each.state for each in others] == ["finished"] * 3


def test_a_run_that_is_not_finished_says_how_far_it_came(runs):
    (runs / "h8-0" / "result.json").unlink()
    (runs / "h8-1" / "weights.safetensors").unlink()
    (runs / "h12-0" / "result.json").unlink()
    (runs / "h12-0" / "checkpoint.pt").unlink()
    found = {each.path.name: each for each in find(runs)}
    assert "2 of 2 epochs done; spikegrad train --resume" in found["h8-0"].problem
    assert "its weights are missing" in found["h8-1"].problem
    assert "there is no checkpoint" in found["h12-0"].problem
    assert [found[name].state for name in ("h8-0", "h8-1", "h12-0")] == ["unfinished"] * 3


def test_another_version_and_a_half_made_folder_are_named(runs):
    path = runs / "h8-0" / "result.json"
    result = json.loads(path.read_text())
    result["versions"]["spikegrad"] = "0.0.9"
    path.write_text(json.dumps(result))
    (runs / ".new.tmp").mkdir()
    shutil.copy(runs / "h8-1" / "config.toml", runs / ".new.tmp")
    found = {each.path.name: each for each in find(runs)}
    assert found["h8-0"].state == "finished"
    assert found["h8-0"].problem.startswith("made by spikegrad 0.0.9")
    assert "killed before it began" in found[".new.tmp"].problem


def test_a_folder_of_seeds_stands_for_its_runs(runs):
    folder = runs.parent / "seeds"
    folder.mkdir()
    for seed in (0, 1):
        shutil.copytree(runs / f"h8-{seed}", folder / f"seed-{seed}")
    (folder / "seeds.json").write_text("{}")
    found = together([str(folder), str(runs / "h12-0")])
    assert [each.path.name for each in found] == ["seed-0", "seed-1", "h12-0"]


def test_the_runs_of_a_comparison_are_listed_where_it_is_asked_for(runs, tmp_path):
    (runs / "comparison.json").write_text("{}")
    assert [each.path.name for each in find(runs)] == ["h8-0", "h8-1", "h12-0", "h12-1"]
    (found,) = find(tmp_path)
    assert found.state == "damaged"
    assert "expected a complete" in found.problem


def test_no_folder_is_an_error_and_an_empty_one_has_no_runs(tmp_path):
    with pytest.raises(UserError, match="nothing there"):
        find(tmp_path / "none")
    assert find(tmp_path) == []
    assert look(tmp_path / "none").state == "damaged"
