"""Rows of peers under `torch.compile` compute what their plain rows compute."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import material, worker
from benchmarks.networks.base import Job
from benchmarks.networks.compiled import body
from benchmarks.networks.registry import IMPLEMENTATIONS, TORCH_PEERS, missing
from benchmarks.table import ratios
from benchmarks.workloads import WORKLOADS, tiny

PRESENT = [peer.name for peer in TORCH_PEERS if not missing(peer)]


@pytest.mark.parametrize("name", ["W2", "W3s", "W4", "W5"])
@pytest.mark.parametrize("peer", PRESENT or [pytest.param("", marks=pytest.mark.skip("no peer"))])
def test_a_compiled_row_is_its_plain_row(
    peer: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPIKEGRAD_DATA", raising=False)  # other images leave so few neurons silent
    workload = tiny(WORKLOADS[name])
    with torch.random.fork_rng():
        path, _ = material.make(workload, tmp_path)
    found = []
    for implementation in (peer, f"{peer}-compiled"):
        trainer = worker.build(
            {
                "workload": asdict(workload),
                "implementation": implementation,
                "surrogate": "triangle",
                "material": str(path),
            }
        )
        spikes = trainer.spikes()
        trainer.step()
        values = [trainer.x] if trainer.alone else trainer.net.parameters()
        found.append((spikes, [value.grad for value in values]))
    (spikes, gradients), (others, compiled) = found
    assert all(0 < s.mean() < 1 for s in spikes)  # neither could be wrong in a silent network
    np.testing.assert_equal(others, spikes)
    torch.testing.assert_close(compiled, gradients)


@pytest.mark.parametrize("peer", TORCH_PEERS, ids=lambda peer: peer.name)
def test_every_torch_peer_has_a_compiled_row_that_counts_as_a_peer(peer) -> None:
    entry = IMPLEMENTATIONS[f"{peer.name}-compiled"]
    assert entry.surrogates == peer.surrogates
    assert entry.convention == peer.convention
    rows = [{"implementation": n, "median_ms": ms} for n, ms in ((entry.name, 2.0), ("ours", 1.0))]
    assert ratios(rows)[1] == (0.5, None)


def job(**options: bool) -> Job:
    return Job(WORKLOADS["W2"], "none", "triangle", {}, options)


def test_a_body_that_does_not_compile_whole_is_refused_and_not_run_in_parts() -> None:
    def step(x: torch.Tensor) -> torch.Tensor:
        torch._dynamo.graph_break()
        return x + 1

    x = torch.zeros(2)
    assert body(job(), step) is step
    with pytest.raises(torch._dynamo.exc.Unsupported):
        body(job(compiled=True), step)(x)
