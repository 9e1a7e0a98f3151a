"""Sparse connections beside dense ones, small, for one turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from native import needs_kernels

from benchmarks import sparse

pytestmark = needs_kernels


def test_rows_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sparse.json"
    assert sparse.main(["--tiny", "--repeats", "1", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    rows = result["rows"]
    assert [row["row"] for row in rows] == ["w3, some", "w3, all", "w3, masked", "20k", "100k"]
    assert all(row["step"] > 0 and row["peak_mb"] > 0 for row in rows)
    assert rows[0]["parameters"] < rows[1]["parameters"]
    assert rows[3]["parameters"] == 200 * 50
    assert "peak MB" in capsys.readouterr().out
    assert result["isa"]


def test_an_unknown_row() -> None:
    with pytest.raises(SystemExit, match="unknown row 'w4'; known: w3, 20k, 100k"):
        sparse.main(["--only", "w4"])
