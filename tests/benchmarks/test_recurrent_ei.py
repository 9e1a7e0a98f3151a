"""A network of excitatory and inhibitory neurons in several ways, small, for one turn."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from native import needs_kernels

from benchmarks import recurrent_ei

pytestmark = needs_kernels


def test_every_way_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That the ways give the same result is looked at before they are timed."""
    out = tmp_path / "ei.json"
    assert recurrent_ei.main(["--tiny", "--repeats", "1", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    peers = [name for name in recurrent_ei.PEERS if find_spec(name)]
    assert [row["way"] for row in rows] == ["ours", "loop", "reference", *peers]
    assert all(row["ms"] > 0 and 0.01 < row["rate"] < 0.06 for row in rows)
    assert "ms a step" in capsys.readouterr().out


def test_a_peers_synapses_are_ours() -> None:
    """With neurons of ours inside the peers' loop the scores are equal."""
    steps, batch, inputs, excitatory, _ = recurrent_ei.TINY
    torch.manual_seed(0)
    x = (torch.rand(steps, batch, inputs) < 0.2).float()
    ours = recurrent_ei.network(recurrent_ei.TINY, x)
    lif = recurrent_ei.sg.LIF(recurrent_ei.TAU_MEM, surrogate=recurrent_ei.SURROGATE)

    def cell(current: torch.Tensor, state: object) -> tuple[torch.Tensor, object]:
        s, after = lif(current.unsqueeze(0), state)
        return s.squeeze(0), after

    theirs, spikes = recurrent_ei.Peer(ours, excitatory, cell)(x)
    assert spikes.any()
    torch.testing.assert_close(theirs, ours(x)[0], rtol=1e-4, atol=1e-5)
