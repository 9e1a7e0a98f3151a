"""A training step of a residual network, for one turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from native import needs_kernels

from benchmarks import residual

pytestmark = needs_kernels


def test_both_backends_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "residual.json"
    threads = torch.get_num_threads()
    try:
        given = ["--network", "sew", "--repeats", "1", "--threads", "1", "--json", str(out)]
        assert residual.main(given) == 0
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
    rows = json.loads(out.read_text())["rows"]
    assert [row["way"] for row in rows][:2] == ["auto", "reference"]
    assert all(row["ms"] > 0 for row in rows)
    assert "ms a step" in capsys.readouterr().out
