"""Rates, counts and operations against numbers counted by hand or by brute force."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spikegrad import IF, LI, LIF, Conv2d, Flatten, Linear, MaxPool2d, Recurrent, Sequential, record
from spikegrad.diagnose import counts_table, firing_rates, spike_counts, summary
from spikegrad.nn import Classifier, models
from spikegrad.surrogate import arctan


def test_rates_are_the_mean_of_the_spikes():
    torch.manual_seed(0)
    net = models.mlp(4, [8, 5], 3, readout="li")
    x = 3 * torch.rand(6, 2, 4)
    with record(net) as tapes, torch.no_grad():
        net(x)
    rates = firing_rates(net, x)
    assert list(rates) == ["2", "4"]  # the integrator is no spiking layer
    assert rates == {name: pytest.approx(tapes[name].spikes.mean().item()) for name in rates}
    assert 0 < rates["2"] < 1


def test_counts_by_hand():
    """Currents 0, 1/2, 1 and 1/4 for 8 steps of a neuron without leak: 0, 4, 8, 2 spikes."""
    x = torch.tensor([0.0, 0.5, 1.0, 0.25]).expand(8, 3, 4)
    (layer,) = spike_counts(Sequential(IF()), x)
    assert layer.histogram == (3, 0, 3, 0, 3, 0, 0, 0, 3)
    assert layer.rate == pytest.approx(14 / 32)
    assert layer.quantiles == (0, 2, 4, 4, 8) or layer.quantiles == (0, 0, 4, 4, 8)
    assert (layer.dead, layer.saturated) == (0.25, 0.25)
    assert "25 % never fire, 25 % always" in layer.line()
    assert counts_table([layer]).splitlines()[1].split()[:2] == ["0", "0.438"]


def test_dead_means_silent_for_every_sample():
    x = torch.zeros(4, 2, 2)
    x[:, 0, 0] = 1.0
    (layer,) = spike_counts(Sequential(IF()), x)
    assert layer.dead == 0.5
    assert layer.saturated == 0.0


def test_a_soft_layer_has_a_rate():
    (layer,) = spike_counts(Sequential(IF(surrogate=arctan(2.0).soft())), torch.ones(4, 1, 2))
    assert 0 < layer.rate < 1
    assert sum(layer.histogram) == 2


def brute(layer: nn.Module, events: torch.Tensor) -> float:
    """Operations by asking each input alone which outputs it reaches; events `[rows, ...]`."""
    total = 0.0
    with torch.no_grad():
        probe = type(layer)(*layer.args, **layer.kwargs)
        probe.weight.fill_(1.0)
        probe.bias.zero_()
        for row in events:
            for index in (row != 0).nonzero():
                one = torch.zeros_like(row)
                one[tuple(index)] = 1.0
                total += float((probe(one[None, None]) != 0).sum() * 1.0) if row.dim() else 0
    return total


@pytest.mark.parametrize(
    "options", [{}, {"padding": 1}, {"stride": 2, "padding": 1}, {"dilation": 2}, {"groups": 2}]
)
def test_operations_of_a_convolution_are_those_counted_one_by_one(options):
    torch.manual_seed(0)
    layer = Conv2d(2, 4, 3, **options)
    layer.args, layer.kwargs = (2, 4, 3), options
    x = (torch.rand(2, 2, 2, 5, 5) < 0.2).float()
    table = summary(Sequential(layer, LIF(10.0)), x)
    assert table.rows[0].synops == brute(layer, x.flatten(0, 1)) / 2
    shape = table.rows[0].shape
    per_output = 9 * 2 // options.get("groups", 1)
    assert table.rows[0].macs == per_output * shape[0] * shape[1] * shape[2]


def test_operations_of_a_fully_connected_network():
    torch.manual_seed(0)
    net = models.mlp(10, [20, 30], 5)
    x = torch.rand(6, 4, 10) * 4
    table = summary(net, x)
    with record(net) as tapes, torch.no_grad():
        net(x)
    rows = {row.name: row for row in table.rows}
    assert rows["1"].synops == 6 * 10 * 20  # every input is there at every step
    assert rows["3"].synops == tapes["2"].spikes.sum().item() * 30 / 4
    assert rows["5"].synops == tapes["4"].spikes.sum().item() * 5 / 4
    assert table.macs == 10 * 20 + 20 * 30 + 30 * 5
    assert table.synops == sum(row.synops for row in table.rows if row.synops is not None)
    assert table.parameters == sum(p.numel() for p in net.parameters())
    assert rows["2"].rate == pytest.approx(firing_rates(net, x)["2"])
    assert rows["1"].rate is None
    assert table.steps == 6


def test_a_static_input_counts_once():
    net = models.mlp(10, [20], 5)
    x = torch.rand(4, 10)
    rows = {row.name: row for row in summary(net, x.expand(7, 4, 10)).rows}
    assert rows["1"].synops == 10 * 20


def test_plain_torch_layers_count_the_same():
    torch.manual_seed(0)
    ours = Sequential(Linear(10, 20), LIF(10.0), Linear(20, 5))
    plain = Sequential(nn.Linear(10, 20), LIF(10.0), nn.Linear(20, 5))
    plain.load_state_dict(ours.state_dict())
    x = (torch.rand(6, 4, 10) < 0.5).float() * 3
    for a, b in zip(summary(ours, x).rows, summary(plain, x).rows, strict=True):
        assert (a.synops, a.macs, a.shape, a.rate) == (b.synops, b.macs, b.shape, b.rate)


def test_feedback_counts_every_step_but_the_last():
    torch.manual_seed(0)
    net = Sequential(Linear(4, 6), Recurrent(LIF(10.0), 6), Linear(6, 2), LI(10.0))
    x = 3 * torch.rand(5, 2, 4)
    with record(net) as tapes, torch.no_grad():
        net(x)
    row = summary(net, x).rows[1]
    assert row.kind == "Recurrent LIF"
    assert row.synops == tapes["1.neuron"].spikes[:-1].sum().item() * 6 / 2
    assert row.macs == 36
    assert row.parameters == 36
    assert row.rate == pytest.approx(tapes["1.neuron"].spikes.mean().item())


def test_shapes_and_text():
    net = Sequential(Conv2d(1, 4, 3, padding=1), LIF(9.0), MaxPool2d(2), Flatten(), Linear(64, 3))
    table = summary(net, torch.rand(2, 3, 1, 8, 8))
    assert [row.shape for row in table.rows] == [(4, 8, 8), (4, 8, 8), (4, 4, 4), (64,), (3,)]
    assert "4x8x8" in table.table()
    assert "\n" not in table.line()
    assert table.table().splitlines()[-1].startswith("all")


def test_nested_networks_have_full_names():
    net = Classifier(models.recurrent(4, [6], 3), steps=4)
    x = torch.rand(5, 4)
    names = [row.name for row in summary(net.network, x.expand(4, 5, 4)).rows]
    assert names == ["0", "1", "2", "3", "4"]
    assert list(firing_rates(net, x)) == ["network.2.neuron"]
