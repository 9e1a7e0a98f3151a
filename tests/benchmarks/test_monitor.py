"""What looking at a run costs, for one turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from native import needs_kernels

from benchmarks import monitor

pytestmark = needs_kernels


def test_both_costs_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "monitor.json"
    assert monitor.main(["digits", "--repeats", "1", "--json", str(out)]) in (0, 1)
    (row,) = json.loads(out.read_text())["rows"]
    assert row["recipe"] == "digits"
    assert row["step_ms"] > 0
    assert row["preflight_ms"] > 0
    assert row["together"] == pytest.approx(row["monitor"] + row["preflight"])
    assert "preflight ms" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        monitor.main(["nothing"])
