"""What the report of a run costs, for one epoch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from native import needs_kernels

from benchmarks import report

pytestmark = needs_kernels


def test_all_costs_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.json"
    assert report.main(["digits", "--epochs", "1", "--json", str(out)]) in (0, 1)
    (row,) = json.loads(out.read_text())["rows"]
    assert row["recipe"] == "digits"
    assert all(row[name] > 0 for name in ("training", "measures", "page", "look"))
    assert row["report"] == pytest.approx((row["measures"] + row["page"]) / row["training"])
    assert row["watch"] == pytest.approx(row["look"] / report.LOOK)
    assert "of the run" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        report.main(["nothing"])
