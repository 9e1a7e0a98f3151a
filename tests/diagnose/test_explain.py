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


def test_every_layer_has_its_time_and_what_would_make_it_faster() -> None:
    first, second, dropout, last = explain(network(), spikes(0.9))
    for each in (first, second, last):
        assert each.forward_ms > 0
        assert each.backward_ms > 0
        assert (
            f"{each.forward_ms:.3g} ms forward, {each.backward_ms:.3g} ms backward" in each.line()
        )
    assert dropout.forward_ms > 0
    assert "of spikes the product is event-driven" in first.advice
    assert last.advice.startswith("a surrogate of compact support")
    for each in explain(network(backend="reference"), spikes(0.1)):
        assert each.advice == ("use_backend(network, 'auto')" if each.backend != "torch" else "")


class Skip(torch.nn.Module):
    """A forward of its own, with torch's Linear at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.lif = torch.nn.Linear(64, 3), sg.LIF(5.0)
        self.first, self.tail = sg.Linear(70, 64), sg.Sequential(sg.Linear(64, 64), sg.LIF(5.0))

    def forward(self, x):
        s, _ = self.lif(self.first(x))
        y, _ = self.tail(s)
        return self.out(s + y)


def test_any_module_is_explained_in_the_order_of_its_run() -> None:
    """A module that is no Sequential once gave an empty list."""
    net = Skip()
    net.first.weight.grad = torch.ones(64, 70)
    said = explain(net, spikes(0.1))
    assert [each.layers for each in said] == [("first",), ("lif",), ("tail.0", "tail.1"), ("out",)]
    assert [each.backend for each in said] == ["cpu", "cpu", "cpu", "torch"]
    assert said[0].forward == "events"
    assert said[0].advice == "put it and its neurons next to each other in a Sequential"
    assert said[3].advice == "use spikegrad.Linear"
    assert all(each.forward_ms > 0 and each.backward_ms > 0 for each in said)
    assert torch.equal(net.first.weight.grad, torch.ones(64, 70))
    assert net.out.weight.grad is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert [each.layers for each in explain(sg.LIF(5.0), spikes(0.1))] == [("LIF",)]


@pytest.mark.parametrize(("share", "way"), [(0.05, ("cpu", "events")), (0.6, ("torch", "dense"))])
def test_convolutions_and_pools_say_what_ran(monkeypatch, share: float, way) -> None:
    """They once were "torch (spikegrad has no kernel for it)", whatever ran."""
    from spikegrad.kernels.cpu import conv

    dense, real = [], conv.dense
    monkeypatch.setattr(conv, "dense", lambda *args: dense.append(1) or real(*args))
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(4, 4, 8, 16, 16, generator=generator) < share).float()
    net = sg.Sequential(sg.Conv2d(8, 16, 3, padding=1), sg.BatchNorm(16), sg.MaxPool2d(2))
    first, norm, pool = explain(net, x)
    assert (first.backend, first.forward) == way
    assert bool(dense) == (first.forward == "dense")
    assert (norm.backend, pool.backend) == ("torch", "cpu")
    assert explain(net.double(), x.double())[0].backend == "torch"
    fused = sg.Sequential(sg.Conv2d(8, 16, 3, padding=1), sg.LIF(5.0), sg.MaxPool2d(2))
    (whole,) = explain(fused, x[:1].expand(4, 4, 8, 16, 16))
    assert whole.layers == ("0", "1", "2")
    assert (whole.backend, whole.forward) == ("cpu", "once")


def test_the_network_stays_as_it_was() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    explain(net, spikes(0.1))
    assert net.witness is None
    assert "witness" not in vars(net)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
