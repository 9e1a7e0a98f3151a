"""The sweep of the choice between events and dense products, on sizes that take no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from native import needs_kernels

from benchmarks import choice
from spikegrad.kernels import cpu

pytestmark = needs_kernels


def test_every_product_and_share_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "choice.json"
    words = "--sizes 16 70 --shares 0.05 0.9 --repeats 1 --threads 1 --json"
    assert choice.main([*words.split(), str(out)]) in (0, 1)  # no promise about 70 neurons
    made = json.loads(out.read_text())
    points = made["points"]
    assert len(points) == (3 + 6) * 2 * 2 * 2
    assert {p["product"] for p in points} == {"forward", "weight", "input", *choice.NUMBERS}
    for p in points:
        assert min(p["chosen_ms"], p["dense_ms"], p["events_ms"]) > 0
        assert p["ratio"] == pytest.approx(p["chosen_ms"] / p["dense_ms"])
    assert made["table"]["measured"]
    said = capsys.readouterr().out
    assert (made["isa"], made["torch"]) == (cpu.isa(), torch.__version__)
    assert f"isa {cpu.isa()}; 1 threads; torch {torch.__version__}" in said
    assert made["machine"]["processor"] in said
    assert "of 72 choices take more than 1.1 times" in said
    assert "share of ones" in said
