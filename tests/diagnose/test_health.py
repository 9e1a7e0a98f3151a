"""`diagnose.health`: every figure by hand, any module, any batch."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

import spikegrad as sg
from spikegrad import IF, LI, LIF, Linear, Recurrent, Sequential, UserError
from spikegrad.diagnose import Health, gradient_flow, health
from spikegrad.functional import membrane_cross_entropy, rate_cross_entropy
from spikegrad.nn import Classifier, models
from spikegrad.surrogate import arctan, straight_through, triangle

LABELS = torch.arange(6) % 3


def kinds(found: Health) -> list[str]:
    return [finding.kind for finding in found.findings]


# -- figures by hand --------------------------------------------------------------------------


def test_spikes_and_membranes_by_hand():
    """Currents 0, 1/4, 1 and 5/4 of IF neurons for 4 steps, one sample after the other at rest."""
    x = torch.tensor([0.0, 0.25, 1.0, 1.25]).expand(4, 2, 4)
    (layer,) = health(Sequential(IF(surrogate=triangle(2.0))), x).layers
    u = torch.tensor([[0, 0.25, 1, 1.25], [0, 0.5, 1, 1.5], [0, 0.75, 1, 1.75], [0, 1, 1, 2.0]])
    assert layer.rate == pytest.approx((1 + 4 + 4) / 16)
    assert (layer.silent, layer.always, layer.neurons) == (0.25, 0.5, 4)
    assert layer.mean == pytest.approx(u.mean().item())
    assert layer.spread == pytest.approx(u.std(correction=0).item())
    assert layer.reach == pytest.approx(2.0)
    inside = (u - 1).abs() < 0.5
    assert layer.nonzero == pytest.approx(inside.float().mean().item())
    assert layer.support == 0.5
    assert layer.typical == pytest.approx((u - 1).abs().flatten().median().item())


def test_membranes_are_measured_from_rest_to_the_threshold():
    """u goes from -70 towards -70 + x/(1 - beta): relative to rest -70 and threshold -50."""
    neuron = LIF(beta=0.5, threshold=-50.0, v_rest=-70.0)
    x = torch.full((30, 1, 1), 5.0)
    (layer,) = health(Sequential(neuron), x).layers
    u = [5.0 * (1 - 0.5 ** (t + 1)) / 0.5 / 20.0 for t in range(30)]
    assert layer.mean == pytest.approx(sum(u) / 30, rel=1e-5)
    assert layer.reach == pytest.approx(0.5, rel=1e-5)


def test_how_far_back_the_gradient_reaches():
    """From the last step alone a leaky membrane passes beta^k: 0.5^6 > 0.01 > 0.5^7."""
    x = torch.full((20, 1, 1), 0.01) * torch.linspace(1, 2, 20)[:, None, None]
    for beta, steps in ((0.5, 6), (0.9, 19)):
        found = health(Sequential(LIF(beta=beta)), x)
        assert found.layers[0].memory == steps
        assert ("short-memory" in kinds(found)) is False
    found = health(Sequential(LIF(beta=0.05)), x)
    assert found.layers[0].memory == 1
    (short,) = [f for f in found.findings if f.kind == "short-memory"]
    assert (short.severity, short.measure) == ("info", 1.0)


def test_a_loss_over_all_steps_does_not_hide_how_far_the_gradient_reaches():
    torch.manual_seed(0)
    network = Sequential(Linear(3, 8), LIF(beta=0.5), Linear(8, 3))
    found = health(network, (torch.rand(20, 6, 3), LABELS), loss=membrane_cross_entropy)
    assert 0 < found.layers[0].memory < 10
    assert found.layers[0].gradient[0] > 0.01 * max(found.layers[0].gradient)


def test_gradients_are_those_of_the_gradient_flow():
    torch.manual_seed(0)
    network = Sequential(Linear(4, 8), Recurrent(LIF(10.0), 8), Linear(8, 3), LI(20.0))
    x = 3 * torch.rand(7, 6, 4)
    found = health(network, (x, LABELS), loss=membrane_cross_entropy)
    flow = gradient_flow(network, x, LABELS, loss=membrane_cross_entropy)
    assert found.loss == flow.loss
    assert found.parameters == flow.parameters
    assert found.layer("1.neuron").gradient == flow.layer("1.neuron").current
    assert found.layer("1.neuron").passing == pytest.approx(
        sum(flow.layer("1.neuron").passing) / 7, rel=1e-6
    )


def test_dead_outputs_and_the_floor():
    """Two of three output neurons get no current; the floor of rates of 3 classes is closed."""
    network = Sequential(Linear(2, 3), IF())
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.copy_(torch.tensor([0.6, 0.0, 0.0]))
        network[0].weight[0] = torch.tensor([0.5, 0.0])
    found = health(network, (torch.rand(5, 6, 2), LABELS), loss=rate_cross_entropy)
    assert (found.outputs, found.dead) == (3, (1, 2))
    assert found.floor == pytest.approx(math.log(1 + 2 / math.e), rel=1e-6)
    (dead,) = [f for f in found.findings if f.kind == "dead-outputs"]
    assert dead.measure == pytest.approx(2 / 3)
    assert "2 of 3 outputs never fire in this batch: 1, 2" in dead.line()
    silent = health(Sequential(Linear(2, 3), IF(threshold=99.0)), (torch.rand(5, 6, 2), LABELS))
    assert silent.dead == (0, 1, 2)
    assert kinds(silent)[0] == "silent"


def test_outputs_that_do_not_depend_on_the_sample_are_dead():
    torch.manual_seed(0)
    network = Sequential(Linear(4, 8), LIF(10.0), Linear(8, 3))
    with torch.no_grad():
        network[2].weight[1] = 0.0
    found = health(network, (3 * torch.rand(5, 6, 4), LABELS))
    assert found.dead == (1,)
    assert found.floor is None


# -- any module, any batch -----------------------------------------------------------------------


class Flowing(sg.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.lif1 = Linear(4, 8), LIF(20.0)
        self.on, self.skip, self.lif2, self.out = (
            Linear(8, 8),
            Linear(4, 8),
            LIF(20.0),
            Linear(8, 3),
        )

    def flow(self, x):
        return self.out(self.lif2(self.on(self.lif1(self.into(x))) + self.skip(x)))


class Plain(nn.Module):
    """Plain torch around a neuron layer, one step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell, self.head = nn.Linear(4, 8), LIF(10.0), nn.Linear(8, 3)

    def forward(self, x):
        state, total = None, 0.0
        for x_t in x:
            s, state = self.cell(self.embed(x_t)[None], state)
            total = total + self.head(s[0])
        return total


def test_any_module():
    torch.manual_seed(0)
    x = 4 * torch.rand(6, 6, 4)
    for network, names in (
        (Flowing(), ["lif1", "lif2"]),
        (Plain(), ["cell"]),
        (Classifier(models.mlp(4, [8], 3)), ["network.2"]),
        (sg.LIF(10.0), ["LIF"]),
    ):
        loss = nn.functional.cross_entropy if isinstance(network, (Plain, Classifier)) else None
        if isinstance(network, sg.LIF):
            found = health(network, x)
        else:
            found = health(network, (x, LABELS), loss=loss)
        assert [layer.name for layer in found.layers] == names
        assert all(len(layer.gradient) == 6 for layer in found.layers)
        assert all(layer.memory is not None for layer in found.layers)
        assert found.outputs == (4 if isinstance(network, sg.LIF) else 3)


def test_the_loss_where_none_is_given():
    torch.manual_seed(0)
    network, x = Sequential(Linear(4, 8), LIF(10.0), Linear(8, 3)), 3 * torch.rand(5, 6, 4)
    with torch.no_grad():
        y = network(x)[0]
    classes = health(network, (x, LABELS))
    assert classes.loss == pytest.approx(membrane_cross_entropy(y, LABELS).item())
    assert classes.notes == ("no loss given: the cross-entropy of the output's mean over time",)
    for targets, value in (
        (torch.rand(5, 6, 3), lambda t: mse_loss(y, t)),
        (torch.rand(6, 3), lambda t: mse_loss(y.mean(0), t)),
    ):
        found = health(network, (x, targets))
        assert found.loss == pytest.approx(value(targets).item())
        assert found.ok
        assert found.floor is None
    unlabelled = health(network, x)
    assert all(norm > 0 for norm in unlabelled.parameters.values())
    assert "random projection" in unlabelled.notes[0]
    assert health(network, x, loss=lambda y: y.square().sum()).notes == ()


def test_one_sample_and_silence_still_give_a_report():
    torch.manual_seed(0)
    network = Sequential(Linear(4, 8), LIF(10.0), Linear(8, 3))
    one = health(network, (3 * torch.rand(5, 1, 4), LABELS[:1]))
    assert one.samples == 1
    assert kinds(one) == ["one-sample"]
    silent = health(network, (torch.zeros(5, 6, 4), LABELS))
    assert kinds(silent)[0] == "input-silent"
    assert silent.layers[0].memory is not None
    assert not silent.ok


def test_a_network_that_never_spikes_says_so():
    found = health(Sequential(Linear(4, 3), LI(20.0)), (torch.rand(5, 6, 4), LABELS))
    assert found.layers == ()
    assert kinds(found) == ["no-spikes"]
    assert found.ok
    with pytest.raises(UserError, match="expected a network with neurons of this package"):
        health(nn.Linear(4, 3), torch.rand(5, 6, 4))


@pytest.mark.parametrize(
    ("batch", "error", "words"),
    [
        ([1.0], TypeError, "expected a batch as x"),
        ((torch.rand(2, 2, 4), LABELS, 1), TypeError, "expected lengths as a tensor"),
        ((torch.rand(2, 2, 4), LABELS, LABELS, 1), TypeError, "got tuple of 4"),
        ((torch.rand(5, 6, 4), [0] * 6), TypeError, "expected labels as a tensor"),
        ((torch.rand(5, 6, 4), torch.rand(7, 3)), UserError, "expected targets of shape"),
        ((torch.full((5, 6, 4), math.nan), LABELS), UserError, "finite"),
    ],
)
def test_what_is_no_batch(batch, error, words):
    with pytest.raises(error, match=words):
        health(Sequential(Linear(4, 8), LIF(10.0), Linear(8, 3)), batch)


def test_the_truth_is_measured_where_it_is_asked_for_and_otherwise_where_it_is_quick():
    torch.manual_seed(0)
    network, x = Sequential(Linear(4, 2), LIF(10.0), Linear(2, 3)), 3 * torch.rand(5, 6, 4)
    assert health(network, (x, LABELS)).truth is None
    for asked in (True, None):
        found = health(network, (x, LABELS), truth=asked)
        assert found.truth.way == "enumeration"
        assert "by enumeration, 10 units a sample" in str(found)
        json.dumps(found.data(), allow_nan=False)
    large = Sequential(Linear(4, 9000), LIF(10.0), Linear(9000, 3))
    (note,) = health(large, (x, LABELS), truth=None, loss=membrane_cross_entropy).notes
    assert note.startswith("the truth of the gradient was not measured: it would take long here")
    soft = Sequential(Linear(4, 2), LIF(10.0, surrogate=arctan(2.0).soft()), Linear(2, 3))
    (_, note) = health(soft, (x, LABELS), truth=True).notes
    assert "layer 1, which is in soft mode" in note


def test_nothing_of_the_network_changes():
    torch.manual_seed(0)
    network = models.mlp(4, [8], 3, batch_norm=True, dropout=0.3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x, state = torch.rand(5, 6, 4), torch.get_rng_state()
    health(network, (x, LABELS))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in network.parameters())


# -- as text and as JSON ------------------------------------------------------------------------


def test_it_prints_as_a_table_with_findings_and_as_json():
    torch.manual_seed(0)
    network = Sequential(
        Linear(4, 8),
        LIF(10.0, surrogate=straight_through()),
        Linear(8, 8),
        LIF(10.0, threshold=9.0),
    )
    found = health(network, (torch.rand(5, 6, 4), LABELS))
    lines = str(found).splitlines()
    header = "layer rate never always mean spread not 0 gradient growth back"
    assert lines[0].split() == header.split()
    assert lines[1].startswith("1 (LIF)")
    assert [line for line in lines if line.startswith("error: layer 3 never fires")]
    data = json.loads(json.dumps(found.data(), allow_nan=False))
    assert data["ok"] is False
    assert data["layers"][0]["support"] == "inf"
    assert data["layers"][1]["gradient"] == list(found.layers[1].gradient)
    first = data["findings"][0]
    assert (first["kind"], first["severity"]) == (found.findings[0].kind, "error")
    assert first["why"] in first["line"]
    assert data["dead_outputs"] == list(range(8))


def test_a_soft_network_is_not_called_silent():
    torch.manual_seed(0)
    network = Sequential(Linear(4, 8), LIF(10.0, surrogate=arctan(2.0).soft()), Linear(8, 3))
    assert health(network, (torch.rand(5, 6, 4), LABELS)).ok
