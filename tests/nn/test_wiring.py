"""Who drives whom: by the flow of data, not by the order in which layers were registered.

Initialisation and calibration once paired a connection with the neuron registered next, and took
the first connection of the project's own skip-connection example for a readout.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import spikegrad as sg
from spikegrad.diagnose import gradient_flow, preflight
from spikegrad.errors import UserError
from spikegrad.functional import membrane_cross_entropy
from spikegrad.nn import calibrate, initialise, psp
from spikegrad.nn.wiring import wiring


class Skip(nn.Module):
    """The network of examples/own_training_loop.py."""

    def __init__(self, neuron=sg.LIF) -> None:
        super().__init__()
        self.first, self.second = sg.Linear(64, 128), sg.Linear(128, 96)
        self.lif1, self.lif2 = neuron(10.0), neuron(20.0)
        self.cast = sg.Linear(128, 96)
        self.out, self.readout = sg.Linear(96, 10), sg.LI(20.0)

    def forward(self, x, states=None):
        before = states if states is not None else (None, None, None)
        a, state1 = self.lif1(self.first(x), before[0])
        b, state2 = self.lif2(self.second(a), before[1])
        y, state3 = self.readout(self.out(self.cast(a) + b), before[2])
        return y, (state1, state2, state3)


class Residual(sg.nn.Stateful):
    """Two connections with norms that drive one layer together; registered backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.act2, self.act1 = sg.LIF(5.0), sg.LIF(5.0)
        self.norm, self.norm1, self.norm2 = sg.BatchNorm(8), sg.BatchNorm(8), nn.BatchNorm1d(8)
        self.short, self.conv2, self.conv1 = (sg.Linear(n, 8, bias=False) for n in (20, 8, 20))

    def forward(self, x, state=None):
        before = state if state is not None else (None, None)
        s, state1 = self.act1(self.norm1(self.conv1(x)), before[0])
        rows = self.norm2(self.conv2(s).flatten(0, 1)).unflatten(0, x.shape[:2])
        y, state2 = self.act2(rows + self.norm(self.short(x)), before[1])
        return y, (state1, state2)


def named(network, x):
    names = {module: name for name, module in network.named_modules()}
    return {w.name: [names[n] for n in w.neurons] for w in wiring(network, x)}


X = torch.rand(12, 5, 64, generator=torch.Generator().manual_seed(0))


def test_the_flow_of_data_pairs_connections_with_neurons():
    want = {"first": ["lif1"], "second": ["lif2"], "cast": ["readout"], "out": ["readout"]}
    want["cast"] = []  # `out` lies between it and the readout
    assert named(Skip(), X) == want
    net = Residual()
    x = torch.rand(6, 4, 20)
    assert named(net, x) == {"conv1": ["act1"], "conv2": ["act2"], "short": ["act2"]}
    norms = {w.name: w.norms for w in wiring(net, x)}
    assert norms["conv1"] == [net.norm1]
    assert norms["conv2"] == [net.norm2]
    assert norms["short"] == [net.norm]


def test_frozen_weights_no_grad_and_plain_order_change_nothing():
    net = Skip().requires_grad_(False)
    with torch.no_grad():
        assert named(net, X)["first"] == ["lif1"]
    with torch.inference_mode():
        assert named(net, X)["second"] == ["lif2"]
    chain = sg.nn.models.conv([1, 8, 8], [4], [6], 3, batch_norm=True, dropout=0.1)
    x = torch.rand(3, 2, 1, 8, 8)
    assert named(chain, x) == named(chain, None)
    assert not any(m._forward_hooks for m in net.modules())


def test_an_own_forward_needs_an_input_to_follow():
    with pytest.raises(UserError, match="an input to follow through the network, got x=None and"):
        initialise(Skip())
    wrapped = sg.nn.Classifier(sg.Sequential(sg.Linear(4, 3), sg.LIF(5.0)), steps=3)
    initialise(wrapped)
    with pytest.raises(UserError, match="Residual with a forward of its own, layer 1"):
        initialise(sg.Sequential(sg.Linear(4, 20), Residual()))


def test_initialise_gives_each_connection_the_gain_of_what_it_drives():
    torch.manual_seed(0)
    net = Skip()
    for p in net.parameters():
        nn.init.zeros_(p)
    initialise(net, "kaiming", x=X, gain=1.5)
    gains = {"first": 1.5, "second": 1.5, "cast": 1.0, "out": 1.0}
    for name, gain in gains.items():
        weight = net.get_submodule(name).weight
        assert weight.std().item() == pytest.approx(gain * math.sqrt(2 / weight.shape[1]), rel=0.05)


def test_connections_that_drive_one_layer_share_its_fluctuations():
    torch.manual_seed(0)
    net = Residual()
    initialise(net, "fluctuation", x=torch.rand(6, 4, 20), rate=0.05, xi=2.0)
    _, squared = psp(net.act1)
    for name, share in (("conv1", 1.0), ("conv2", 0.5), ("short", 0.5)):
        weight = net.get_submodule(name).weight
        want = math.sqrt(share * 0.25 / (weight.shape[1] * 0.05 * squared))
        assert weight.std().item() == pytest.approx(want, rel=0.25), name


def test_following_leaves_no_trace():
    torch.manual_seed(0)
    net = sg.Sequential(Residual(), sg.Dropout(0.5), sg.Linear(8, 2))
    buffers = {name: b.clone() for name, b in net.named_buffers()}
    state = torch.get_rng_state()
    weights = [p.clone() for p in net.parameters()]
    with pytest.raises(TypeError):
        calibrate(net, "x")
    calibrate(net, torch.rand(6, 4, 20, generator=torch.Generator().manual_seed(0)), rate=0.2)
    assert all(torch.equal(b, buffers[name]) for name, b in net.named_buffers())
    assert net.training
    assert torch.equal(state, torch.get_rng_state())
    assert any(not torch.equal(p, w) for p, w in zip(net.parameters(), weights, strict=True))


def test_calibrate_scales_what_drives_each_layer():
    torch.manual_seed(0)
    net = Skip()
    before = {name: p.clone() for name, p in net.named_parameters()}
    done = calibrate(net, X, rate=0.1)
    assert [d.layer for d in done] == ["lif1", "lif2"]
    with sg.record(net, membrane=False) as tapes:
        net(X)
    for name in ("lif1", "lif2"):
        assert tapes[name].spikes.mean().item() == pytest.approx(0.1, rel=0.05)
    for name in ("out.weight", "cast.weight"):
        assert torch.equal(net.get_parameter(name), before[name])
    for one, name in zip(done, ("first", "second"), strict=True):
        scaled = before[f"{name}.weight"] * one.factor
        torch.testing.assert_close(net.get_parameter(f"{name}.weight"), scaled)


def test_calibrate_scales_every_norm_that_drives_a_layer():
    torch.manual_seed(0)
    net = Residual()
    done = calibrate(net, torch.rand(6, 16, 20), rate=0.2)
    assert [d.layer for d in done] == ["act1", "act2"]
    for norm, factor in ((net.norm1, done[0]), (net.norm2, done[1]), (net.norm, done[1])):
        torch.testing.assert_close(norm.weight, torch.full((8,), factor.factor))


def test_calibrate_refuses_one_connection_for_two_layers():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.both, self.a, self.b = sg.Linear(64, 8), sg.LIF(5.0), sg.LIF(20.0)

        def forward(self, x):
            current = self.both(x)
            return self.a(current)[0] + self.b(current)[0]

    net = Two()
    before = net.both.weight.clone()
    with pytest.raises(
        UserError, match="a separate connection for every spiking layer, got layers a and b"
    ):
        calibrate(net, X)
    assert torch.equal(net.both.weight, before)


class Unknown(sg.nn.SpikingNeuron):
    scan = "integrate_and_fire"


def test_psp_refuses_a_neuron_that_it_does_not_know():
    """It once took the response of a neuron without a leak for it."""
    assert psp(sg.IF(), steps=10) == (10.0, 10.0)
    with pytest.raises(TypeError, match=r"whose response is known: IF, .* got Unknown"):
        psp(Unknown())
    net = sg.Sequential(sg.Linear(64, 8), sg.LIF(5.0), sg.Linear(8, 8), Unknown())
    before = [p.clone() for p in net.parameters()]
    with pytest.raises(TypeError, match="got Unknown"):
        initialise(net, "fluctuation")
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_findings_follow_the_run_not_the_registration():
    """The silent layer was registered behind the weight that learns nothing for it."""
    torch.manual_seed(0)
    net = Skip(lambda tau: sg.LIF(tau, surrogate=sg.surrogate.triangle(2.0)))
    with torch.no_grad():
        net.first.weight.mul_(1e-3), net.first.bias.zero_()
    labels = torch.arange(5) % 10
    said = {f.layer: f.line() for f in preflight(net, X, labels, loss=membrane_cross_entropy)}
    assert "lif1 never fires: repair that first" in said["cast"]
    shuffled = Residual()
    flow = gradient_flow(shuffled, torch.rand(6, 4, 20), loss=lambda y: y.square().sum())
    assert [layer.name for layer in flow.layers] == ["act1", "act2"]
