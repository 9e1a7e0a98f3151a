"""What `spikegrad bench` prints."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

from spikegrad.cli import bench
from spikegrad.cli.bench import GPU_TASKS, Task, measured, show
from spikegrad.errors import UserError


def test_the_ratio_reads_as_what_it_is(capsys):
    """Its heading was "x ReLU", which reads as so many times faster where it means slower."""
    row = {"task": "recurrent", "network": "700-512-20", "steps": 100, "batch": 64,
           "median_ms": 30.0, "samples_per_second": 2133.3, "times_relu": 1.25,
           "activity": 0.05}  # fmt: skip
    machine = {"cores": 2, "instruction sets": "generic"}
    show({"rows": [row], "threads": 2, "backend": "cpu", "isa": "generic", "processor": machine})
    out = capsys.readouterr().out
    assert "time / ReLU" in out.splitlines()[0]
    assert "x ReLU" not in out
    assert "1.25" in out
    assert "below 1 the spiking network is faster" in " ".join(out.split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so() -> None:
    done = CliRunner().invoke(bench.bench, ["--device", "cuda"])
    assert isinstance(done.exception, UserError)
    assert "expected a CUDA GPU for --device cuda" in str(done.exception)
    assert "omit --device to time the CPU" in str(done.exception)


def test_the_tasks_of_a_gpu_and_a_peer(monkeypatch, capsys) -> None:
    """Their sizes made small, on this CPU; a peer that does nothing stands for SpikingJelly."""
    monkeypatch.setattr(bench, "SECONDS", 0.0)
    monkeypatch.setattr(bench, "peers", lambda x: [("another's LIF", lambda: None, 0.5)])
    tasks = tuple(
        Task(task.name, task.kind, 6, 3, (*(8 for _ in task.sizes[1:]), 5), 0.3)
        for task in GPU_TASKS
    )
    result = measured(tasks, False, "cpu")
    names = ["layer", "recurrent", "neuron scan", "another's LIF"]
    assert [row["task"] for row in result["rows"]] == names
    assert all(row["repeats"] >= 3 and row["times_relu"] > 0 for row in result["rows"])
    assert result["device"] == "cpu"
    result |= {"device": "GPU 1", "backend": "reference", "reason": "no Triton"}
    show(result)
    out = " ".join(capsys.readouterr().out.split())
    assert "backend reference (no Triton) on GPU 1" in out
    assert "another's LIF" in out
