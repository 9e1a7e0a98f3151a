"""Native scans beside their loops, on sizes that take no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from native import needs_kernels

from benchmarks import neurons
from spikegrad.kernels import cpu

pytestmark = needs_kernels


def test_every_neuron_is_measured_beside_its_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "neurons.json"
    words = "--size 50 2 8 --neuron LIF,AdEx --repeats 1 --threads 1 --json"
    assert neurons.main([*words.split(), str(out)]) == 0
    made = json.loads(out.read_text())
    assert [r["neuron"] for r in made["rows"]] == ["LIF", "AdEx"]
    for row in made["rows"]:
        assert 0.01 < row["rate"] < 0.2
        assert all(ms > 0 for key, ms in row.items() if key.endswith("_ms"))
        assert len(row) == 6
    said = capsys.readouterr().out
    assert f"isa {cpu.isa()}" in said
    assert "T = 50, B = 2, N = 8" in said


def test_an_unknown_neuron_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        neurons.main(["--neuron", "LIFF"])
    assert "got LIFF" in capsys.readouterr().err


def test_every_model_is_there() -> None:
    import spikegrad as sg

    assert set(sg.neurons.models()) < set(neurons.NEURONS)
