"""What half of the spikes takes off, on sizes that take no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from native import needs_kernels

from benchmarks import halving
from spikegrad.kernels import cpu

pytestmark = needs_kernels


def test_every_share_is_measured_beside_the_dense_product(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "halving.json"
    words = "--size 3 4 70 65 --shares 0.4 0.2 0.05 --repeats 1 --threads 1 --json"
    assert halving.main([*words.split(), str(out)]) in (0, 1)  # no promise about 70 neurons
    made = json.loads(out.read_text())
    assert [p["share"] for p in made["points"]] == [0.4, 0.2, 0.05]
    first, second, third = made["points"]
    assert first["off"] is None
    assert third["off"] is None  # nothing with twice its ones
    assert second["off"] == pytest.approx(1 - second["ms"] / first["ms"])
    assert made["dense_ms"] > 0
    said = capsys.readouterr().out
    assert (made["isa"], made["torch"]) == (cpu.isa(), torch.__version__)
    assert f"isa {cpu.isa()}; 1 threads; torch {torch.__version__}" in said
    assert made["machine"]["processor"] in said
    assert "70-65, T = 3, B = 4, 1 threads" in said
    assert "of 1 halvings take less than 35%" in said
