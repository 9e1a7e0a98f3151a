"""Learned delays beside a convolution over time, small, for one turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from native import needs_kernels

from benchmarks import delays

pytestmark = needs_kernels


def test_rows_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "delays.json"
    assert delays.main(["--tiny", "--repeats", "1", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    names = ["interpolation", "gaussian, annealed", "gaussian, first epoch", "feedback"]
    assert [row["row"] for row in rows] == names
    assert all(row["ours_ms"] > 0 and row["other_ms"] > 0 for row in rows)
    assert [row["beside"] for row in rows] == ["convolution"] * 3 + ["loop"]
    assert "beside" in capsys.readouterr().out
