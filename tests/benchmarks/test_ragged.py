"""Samples of different length beside the padded batch, for one turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from native import needs_kernels

from benchmarks import ragged

pytestmark = needs_kernels


def test_both_networks_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ragged.json"
    assert ragged.main(["--samples", "8", "--repeats", "1", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["network"] for row in rows] == ["feed-forward"] * 2 + ["recurrent"] * 2
    for row in rows:
        assert row["ratio"] == pytest.approx(row["lengths_ms"] / row["padded_ms"])
        assert row["lengths_mb"] >= 0
    assert "real steps" in capsys.readouterr().out
