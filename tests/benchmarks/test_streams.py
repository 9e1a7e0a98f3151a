"""One step beside other libraries, for one turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from native import needs_kernels

from benchmarks import streams

pytestmark = needs_kernels


def test_our_ways_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "streams.json"
    assert streams.main(["--repeats", "1", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["way"] for row in rows][:2] == ["sg.stream", "Sequential, T = 1"]
    assert all(row["us"] > 0 for row in rows)
    assert "us a step" in capsys.readouterr().out
