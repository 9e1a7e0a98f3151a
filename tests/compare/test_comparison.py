"""What a comparison says of outcomes that are given: metric, failures, budget, JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from spikegrad.compare import Comparison, Outcome, plan
from spikegrad.compare.table import notes, progress, ranking


def found(figures, metric="test_accuracy", **given):
    wanted = plan("digits", metric=metric, seeds=2, **{"surrogates": ["arctan", "boxcar"], **given})
    return Comparison(wanted, {key: Outcome(**value) for key, value in figures.items()})


@pytest.mark.parametrize(
    ("asked", "held", "used", "first"),
    [
        ("test_accuracy", ["test_accuracy", "val_loss"], "test_accuracy", 1),
        ("test_accuracy", ["val_accuracy", "val_loss"], "val_accuracy", 1),
        ("test_accuracy", ["val_loss", "test_loss"], "test_loss", 0),
        ("test_accuracy", ["val_loss"], "val_loss", 0),
        ("val_accuracy", ["test_accuracy", "val_accuracy"], "val_accuracy", 1),
        ("test_loss", ["test_accuracy", "val_loss"], "val_loss", 0),
    ],
)
def test_the_metric_is_what_the_runs_have(asked, held, used, first):
    """Accuracies are better when larger, losses when smaller."""
    figures = {
        (i, seed): dict.fromkeys(held, 0.1 + i + 0.01 * seed) for i in (0, 1) for seed in (0, 1)
    }
    comparison = found(figures, asked)
    assert comparison.metric == used
    assert comparison.ranking()[0].place == first
    assert used.split("_")[1] in ranking(comparison)[0][2]


def test_numbers_that_are_not_finite_and_failures_are_left_out():
    comparison = found({(0, 0): {"test_accuracy": float("nan")}, (0, 1): {"failed": "why"},
                        (1, 0): {"test_accuracy": 0.5}})  # fmt: skip
    assert comparison.values(0, "test_accuracy") == {}
    assert comparison.failures() == [("arctan", 1, "why")]
    assert not comparison.complete
    assert [row.rank for row in comparison.ranking()] == [1, None]
    assert json.loads(json.dumps(comparison.data()))["complete"] is False


def test_another_budget_is_said():
    figures = {(i, seed): {"test_accuracy": 0.5} for i in (0, 1) for seed in (0, 1)}
    same = found(figures)
    other = found(figures, surrogates=None, vary={"epochs": [1, 2], "batch_size": [8]})
    assert not any("budget" in line for line in notes(same))
    assert any(
        "differ in epochs: they do not have the same budget" in line for line in notes(other)
    )


def test_the_table_says_how_far_the_trials_are_that_run(tmp_path):
    comparison = found({(0, 0): {"test_accuracy": 0.5}, (0, 1): {"failed": "why"}})
    comparison = replace(comparison, folder=tmp_path)
    place = comparison.plan.place(tmp_path, 1, 0)
    place.mkdir(parents=True)
    (place / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    rows = progress(comparison)
    assert [row[1] for row in rows[1:]] == ["1/2", "0/2"]
    assert [row[-1] for row in rows[1:]] == ["1 failed", "epoch 2/40"]
