"""Two checkouts, or two instruction sets, in turns. Nothing here asserts a time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from native import needs_kernels

from benchmarks import versus
from benchmarks.networks.registry import IMPLEMENTATIONS
from benchmarks.workers import ROOT, Settings, Task, Worker
from benchmarks.workloads import WORKLOADS


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another checkout of the same sources, so that no kernel is compiled for it."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "spikegrad", tmp_path / "checkout" / "spikegrad", ignore=skip)
    return tmp_path / "checkout"


@needs_kernels
def test_each_side_runs_its_own_checkout(other, tmp_path, capsys):
    out = tmp_path / "versus.json"
    words = "--tiny --workload W2 --surrogate triangle --rounds 2 --turns 2 --threads 1"
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        given = ["--old", str(other), "--limit", "1e-9", "--json", str(out), *words.split()]
        assert versus.main(given) == 1  # no step is a thousand million times faster
    torch.set_num_threads(threads)
    result = json.loads(out.read_text())
    sides = result["sides"]
    assert sides["new"]["package"] == str(ROOT / "spikegrad")
    assert sides["old"]["package"] == str(other.resolve() / "spikegrad")
    assert sides["new"]["isa"] == sides["old"]["isa"]
    (row,) = result["rows"]
    assert (row["workload"], row["surrogate"], row["turns"]) == ("W2", "triangle", 4)
    assert len(row["of_rounds"]) == 2
    assert min(row["ratio"], row["new_ms"], row["old_ms"]) > 0
    said = capsys.readouterr().out
    assert f"old: {other.resolve()}" in said
    assert "1 of 1 ratios are above 1e-09" in said


def test_the_ratio_is_of_neighbours_in_time():
    """A machine that slows down half-way changes both sides of a turn, and no ratio."""
    first = versus.Round(new=[2.0, 20.0, 200.0], old=[1.0, 10.0, 100.0])
    second = versus.Round(new=[3.0, 3.0, 3.0], old=[2.0, 2.0, 2.0])
    found = versus.compared([first, second])
    assert found["ratio"] == 1.75
    assert found["of_rounds"] == [2.0, 1.5]
    assert (found["new_ms"], found["old_ms"], found["turns"]) == (3.0, 2.0, 6)


def test_a_side_that_runs_another_package_ends_the_program():
    task = Task(WORKLOADS["W2"], IMPLEMENTATIONS["ours"], "triangle")
    settings = Settings(1, checkout=Path("/there"))
    worker = Worker(task, settings, None, None, found={"package": "/elsewhere/spikegrad"})
    with pytest.raises(SystemExit, match=r"expected spikegrad from /there/spikegrad, got /elsewh"):
        versus.check(worker)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "both sides are the same"),
        (["--isa", "avx2", "--old-isa", "avx2"], "both sides are the same"),
        (["--old", "/no/such/checkout"], "expected --old to be a checkout"),
        (["--old-isa", "avx2", "--workload", "W9"], "expected --workload among W1, W1w"),
        (["--old-isa", "avx2", "--turns", "0"], "of at least 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(given, words, capsys):
    with pytest.raises(SystemExit):
        versus.main(given)
    assert words in capsys.readouterr().err
