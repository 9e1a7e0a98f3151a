"""Diagnosis of a network of excitatory and inhibitory neurons, in one layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import spikegrad as sg

EXCITATORY, T, B = 24, 30, 6
N = 30


def network() -> sg.Sequential:
    """Sparse synapses of both kinds, positive weights."""
    torch.manual_seed(0)
    exist = torch.rand(2, N, N) < 0.3
    exist[0, :, EXCITATORY:] = False
    exist[1, :, :EXCITATORY] = False
    back = sg.Linear(N, 2 * N, bias=False, connectivity=exist.flatten(0, 1))
    fed = sg.Recurrent(sg.SynapticLIF(), connection=sg.nn.dale(back, 1.0))
    into = [sg.Linear(20, 2 * N), nn.Unflatten(1, (2, N))]
    return sg.Sequential(*into, fed, sg.Linear(N, 3), sg.LI(10.0))


def batch() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    x = (torch.rand(T, B, 20, generator=source) < 0.1).float()
    return x, torch.randint(3, (B,), generator=source)


def loss(y: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(y.mean(0), labels)


def test_calibration_reaches_the_rate_with_feedback() -> None:
    net, (x, _) = network(), batch()
    (done,) = sg.nn.calibrate(net, x, rate=0.05)
    assert done.layer == "2.neuron"
    assert abs(sg.diagnose.firing_rates(net, x)["2.neuron"] - 0.05) < 0.005


def test_the_flow_of_gradients_is_that_of_autograd() -> None:
    net, (x, labels) = network(), batch()
    sg.nn.calibrate(net, x, rate=0.05)
    flow = sg.diagnose.gradient_flow(net, x, labels, loss=loss)
    assert [each.name for each in flow.layers] == ["2.neuron"]
    value = loss(net(x)[0], labels)
    value.backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        assert flow.parameters[name] == pytest.approx(float(parameter.grad.norm()), rel=1e-4)
    found = sg.diagnose.preflight(net, x, labels, loss=loss)
    assert not [each for each in found if each.severity == "error"]


def test_what_the_preflight_says_of_silence() -> None:
    net, (x, labels) = network(), batch()
    with torch.no_grad():
        net[0].weight.mul_(1e-3)
        net[0].bias.zero_()
    found = sg.diagnose.preflight(net, x, labels, loss=loss)
    assert any(each.layer == "2.neuron" and each.severity == "error" for each in found)


def test_records_tables_and_explanations() -> None:
    net, (x, _) = network(), batch()
    with sg.record(net) as tapes:
        net(x)
    assert tapes["2.neuron"].spikes.shape == tapes["2.neuron"].membrane.shape == (T, B, N)
    assert tapes["2.neuron"].current.shape == (T, B, 2, N)
    table = sg.diagnose.summary(net, x)
    assert table.rows[2].macs == len(net[2].connection.edges.targets)
    dense = sg.Recurrent(sg.SynapticLIF(), N)
    assert sg.diagnose.summary(dense, torch.rand(T, B, 2, N)).rows[0].macs == 2 * N * N
    first = sg.diagnose.explain(net, x)[0]
    assert first.layers == ("0", "1", "2")
    assert "feedback along" in first.reason


def test_first_weights() -> None:
    net = network()
    sg.nn.initialise(net, "kaiming")
    with pytest.raises(sg.UserError, match="one input, got 2"):
        sg.nn.initialise(net, "fluctuation")
