"""What `explain` says, against what was asked for and what the input is."""

from __future__ import annotations

import pytest
import torch

import spikegrad as sg
from spikegrad import functional as F
from spikegrad.diagnose import explain
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu.crossover import Table, using
from spikegrad.surrogate import triangle

pytestmark = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")


def spikes(share: float) -> torch.Tensor:
    return (torch.rand(20, 16, 70, generator=torch.Generator().manual_seed(0)) < share).float()


def network(**container) -> sg.Sequential:
    torch.manual_seed(0)
    return sg.Sequential(
        sg.Linear(70, 128),
        sg.LIF(beta=0.9, surrogate=triangle(2.0)),
        sg.Linear(128, 64),
        sg.Recurrent(sg.LIF(20.0), 64),
        sg.Dropout(0.1),
        sg.Linear(64, 40),
        sg.LI(20.0),
        **container,
    )


def forced(share: float) -> Table:
    return Table("forced", (1,), dict.fromkeys(("forward", "weight", "input"), ((share,),)))


def test_blocks_routes_and_activity() -> None:
    with using(forced(1.0)):
        first, second, dropout, last = explain(network(), spikes(0.1))
    assert (first.layers, first.backend) == (("0", "1"), "cpu")
    assert first.ways == ("events", "events", "")
    assert first.activity == pytest.approx(float(spikes(0.1).mean()), rel=1e-6)
    assert (second.layers, second.ways) == (("2", "3"), ("events", "events", "sampled"))
    assert (dropout.layers, dropout.backend) == (("4",), "torch")
    assert last.layers == ("5", "6")
    assert last.ways == ("events", "events", "dense")  # scaled by the dropout: no zeros and ones
    assert "% of inputs are not 0" in last.reason
    assert "forced" in first.line()
    with using(forced(0.0)):
        first, second, *_ = explain(network(), spikes(0.1))
    assert (first.ways, second.ways) == (("dense", "dense", ""), ("dense", "dense", "dense"))


def test_a_static_input_and_the_reference() -> None:
    first, *_ = explain(network(), F.direct(torch.rand(16, 70), 20))
    assert first.ways == ("once", "once", "")
    said = explain(network(backend="reference"), spikes(0.1))
    assert [each.backend for each in said] == ["reference"] * 4 + ["torch"] + ["reference"] * 2


def test_the_network_stays_as_it_was() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    explain(net, spikes(0.1))
    assert net.witness is None
    assert "witness" not in vars(net)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
