"""Convolutions along events beside dense ones, on sizes that take no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from native import needs_kernels

from benchmarks import convolutions
from spikegrad.kernels.cpu.conv import shares

pytestmark = needs_kernels


def test_every_product_and_share_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, before = tmp_path / "convolutions.json", convolutions.module.shares
    words = "--sizes 4,3,8,6 40,16,20,20 --shares 0.1 0.9 --repeats 1 --threads 1 --json"
    assert convolutions.main([*words.split(), str(out)]) in (0, 1)  # no promise in one turn
    assert convolutions.module.shares is before
    made = json.loads(out.read_text())
    points = made["points"]
    assert len(points) == 2 * 3 * 2
    assert {p["product"] for p in points} == {"forward", "weight", "input"}
    for p in points:
        assert min(p["chosen_ms"], p["dense_ms"], p["events_ms"]) > 0
        own = shares(*p["size"][1:3])
        assert p["most"] == (own.gradient if p["product"] == "input" else own.spikes)
        assert p["ratio"] == pytest.approx(p["dense_ms"] / p["chosen_ms"])
    said = capsys.readouterr().out
    assert "16-20, 20x20" in said
    assert "of 12 choices take more than 1.1 times" in said


def test_sizes_are_four_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("1,2,3", "0,1,1,1", "a"):
        with pytest.raises(SystemExit):
            convolutions.main(["--sizes", wrong])
        assert f"images,channels,outputs,side, got {wrong}" in capsys.readouterr().err


@pytest.mark.parametrize("product", convolutions.PRODUCTS)
def test_the_ways_compute_the_same(product: str) -> None:
    import torch

    from spikegrad.kernels.cpu.conv import Shares

    results = []
    for limits in (Shares(1.0, 1.0), Shares(-1.0, -1.0)):
        run = convolutions.prepared((40, 16, 20, 20), product, 0.2, limits)
        found = run()
        results.append(found[0] if isinstance(found, tuple) else found)
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)
