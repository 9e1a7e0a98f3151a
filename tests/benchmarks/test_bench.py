"""`spikegrad bench`: what it prints is complete; how long a step takes is the machine's affair."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from spikegrad.cli import bench as module
from spikegrad.cli.bench import TASKS, bench, show
from spikegrad.cli.main import COMMANDS
from spikegrad.kernels.cpu import isa


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(module, "QUICK_SECONDS", 0.05)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_json_has_a_row_per_task_threads_come_back_and_the_table_names_all(capsys):
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    done = CliRunner().invoke(bench, ["--quick", "--json", "--threads", "1"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert torch.get_num_threads() == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert result["threads"] == 1
    assert result["isa"] == isa()
    assert [row["task"] for row in result["rows"]] == [task.name for task in TASKS]
    for row in result["rows"]:
        assert 0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"]
        assert row["times_relu"] == pytest.approx(row["median_ms"] / row["relu_median_ms"])
        per_sample = row["median_ms"] / row["batch"]
        assert row["samples_per_second"] == pytest.approx(1000 / per_sample)
        assert 0.03 < row["activity"] < 0.08
    show(result)
    out = capsys.readouterr().out
    for task in TASKS:
        assert task.name in out
    assert "samples/s" in out
    if result["backend"] == "cpu":
        assert f"backend cpu with {isa()}" in " ".join(out.split())


def test_threads_below_one_are_refused():
    result = CliRunner().invoke(bench, ["--threads", "0"])
    assert result.exit_code == 2


def test_it_is_a_command():
    assert COMMANDS["bench"][0] == "spikegrad.cli.bench"
