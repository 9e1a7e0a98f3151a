"""Gradient flow against closed forms, plain backward passes and other people's modules."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from spikegrad import (
    ALIF,
    CUBALIF,
    IF,
    LI,
    LIF,
    Linear,
    Recurrent,
    Sequential,
    Spiking,
    UserError,
    record,
)
from spikegrad.diagnose import gradient_flow
from spikegrad.diagnose.flow import growth_of
from spikegrad.functional import membrane_cross_entropy
from spikegrad.nn import Classifier, models
from spikegrad.surrogate import arctan, get, names, triangle

NEURONS = {
    "if": lambda **k: IF(**k),
    "lif": lambda **k: LIF(10.0, **k),
    "cuba": lambda **k: CUBALIF(10.0, 5.0, **k),
    "alif": lambda **k: ALIF(10.0, 100.0, **k),
    "spiking": lambda **k: Spiking(**k),
}


def test_one_neuron_by_hand():
    """u[t] = x[t] + beta u[t-1] below threshold; dL/dx[t] = sum_s>=t g(d[s]) beta^(s-t)."""
    beta, steps = 0.5, 4
    x = torch.full((steps, 1, 1), 0.2)
    flow = gradient_flow(
        Sequential(LIF(beta=beta, surrogate=triangle(1.0))), x, loss=lambda y: y.sum()
    )
    u = [0.2 * sum(beta**k for k in range(t + 1)) for t in range(steps)]
    g = [1 - abs(v - 1) for v in u]
    expected = [sum(g[s] * beta ** (s - t) for s in range(t, steps)) for t in range(steps)]
    (layer,) = flow.layers
    assert layer.current == pytest.approx(expected, rel=1e-6)
    assert layer.derivative == pytest.approx(g, rel=1e-5)
    assert layer.passing == (1.0,) * steps
    assert layer.rate == 0.0
    assert layer.growth == pytest.approx((expected[0] / expected[2]) ** 0.5, rel=1e-6)
    assert layer.total == pytest.approx(math.sqrt(sum(e * e for e in expected)), rel=1e-6)


@pytest.mark.parametrize("name", NEURONS)
def test_parameters_and_currents_are_those_of_a_plain_backward_pass(name):
    torch.manual_seed(0)
    net = Sequential(Linear(4, 8), NEURONS[name](), Linear(8, 3), LI(20.0))
    x, labels = torch.rand(6, 5, 4) * 3, torch.arange(5) % 3
    flow = gradient_flow(net, x, labels, loss=membrane_cross_entropy)
    with record(net) as tapes:
        value = membrane_cross_entropy(net(x)[0], labels)
    value.backward()
    assert flow.loss == pytest.approx(value.item())
    assert dict(flow.parameters) == pytest.approx(
        {k: p.grad.norm().item() for k, p in net.named_parameters()}, rel=1e-4
    )
    gradient = tapes["1"].current_gradient
    assert flow.layer("1").current == pytest.approx(
        gradient.flatten(1).norm(dim=1).tolist(), rel=1e-4
    )
    assert [layer.name for layer in flow.layers] == ["1"]  # the integrator has no surrogate
    assert flow.layer("1").kind == type(net[1]).__name__


@pytest.mark.parametrize("name", names(aliases=False))
def test_the_derivative_is_that_of_every_surrogate(name):
    surrogate = get(name)
    x = torch.linspace(-2, 4, 31).reshape(1, 1, 31)
    (layer,) = gradient_flow(
        Sequential(Spiking(surrogate=surrogate)), x, loss=lambda y: y.sum()
    ).layers
    g = surrogate.derivative(x - 1.0).abs()
    assert layer.derivative[0] == pytest.approx(g.mean().item(), rel=1e-5)
    assert layer.passing[0] == pytest.approx((g > 0.01 * surrogate.peak).float().mean().item())


@pytest.mark.parametrize("name", ["lif", "cuba", "alif", "if", "spiking"])
def test_a_learned_slope_is_the_one_in_force_per_neuron(name):
    net = Sequential(NEURONS[name](surrogate=triangle(1.0), learn="slope", size=3))
    with torch.no_grad():
        net[0].slope.raw.copy_(torch.tensor([-3.0, 0.0, 3.0]))
    x = torch.full((1, 1, 3), 0.9)
    with record(net) as tapes, torch.no_grad():
        net(x)
    distance, k = tapes["0"].distance, net[0].slope().detach()
    (layer,) = gradient_flow(net, x, loss=lambda y: y.sum()).layers
    expected = k * torch.relu(1 - k * distance.abs())
    assert layer.derivative[0] == pytest.approx(expected.mean().item(), rel=1e-5)
    assert layer.passing[0] == pytest.approx((expected / k > 0.01).float().mean().item())


def test_a_refractory_neuron_passes_nothing():
    net = Sequential(IF(surrogate=arctan(2.0), refractory=2.0))
    (layer,) = gradient_flow(net, torch.ones(6, 1, 1), loss=lambda y: y.sum()).layers
    assert [d > 0 for d in layer.derivative] == [True, False, False, True, False, False]
    assert layer.rate == pytest.approx(1 / 3)


class Own(nn.Module):
    """A user's module: a loop of their own, single steps, an output without time."""

    def __init__(self, with_state: bool) -> None:
        super().__init__()
        self.embed, self.cell, self.head = nn.Linear(4, 8), LIF(10.0), nn.Linear(8, 3)
        self.unused, self.with_state = nn.Linear(2, 2), with_state
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x):
        state, out = None, 0.0
        for x_t in x:
            s, state = self.cell(self.embed(x_t)[None], state)
            out = out + self.head(s[0])
        return (out, state) if self.with_state else out


@pytest.mark.parametrize("with_state", [True, False])
def test_a_module_of_the_users_own(with_state):
    torch.manual_seed(0)
    labels = torch.arange(5) % 3
    flow = gradient_flow(
        Own(with_state), torch.rand(7, 5, 4), labels, loss=nn.functional.cross_entropy
    )
    (layer,) = flow.layers
    assert (layer.name, len(layer.current)) == ("cell", 7)
    assert all(norm > 0 for norm in layer.current)
    assert flow.parameters["unused.weight"] is None
    assert flow.frozen == ("frozen",)
    assert flow.parameters["embed.weight"] > 0
    assert ["unused.weight", "none"] in [line.split() for line in flow.table().split("\n")]


def test_recurrence_and_nesting_have_full_names():
    net = Classifier(models.recurrent(4, [6, 5], 3), steps=4)
    flow = gradient_flow(
        net, torch.rand(5, 4), torch.arange(5) % 3, loss=nn.functional.cross_entropy
    )
    assert [layer.name for layer in flow.layers] == ["network.2.neuron", "network.4.neuron"]
    assert "network.2.connection.weight" in flow.parameters


def test_a_layer_fed_with_data_directly_has_a_current_gradient():
    flow = gradient_flow(LIF(10.0), torch.rand(3, 2, 4), loss=lambda y: y.sum())
    assert flow.layers[0].name == "LIF"
    assert all(norm > 0 for norm in flow.layers[0].current)


def test_integers_into_an_embedding():
    net = Own(False)
    net.embed = nn.Embedding(5, 8)
    flow = gradient_flow(net, torch.randint(5, (4, 2)), loss=lambda y: y.square().sum())
    assert flow.layers[0].reached
    assert flow.parameters["embed.weight"] > 0


def test_a_layer_that_the_loss_does_not_see():
    net = Own(False)
    net.side = LIF(10.0)
    forward = net.forward
    net.forward = lambda x: (net.side(x), forward(x))[1]
    flow = gradient_flow(net, torch.rand(3, 2, 4), loss=lambda y: y.sum())
    side = flow.layer("side")
    assert not side.reached
    assert side.current == (0.0, 0.0, 0.0)
    assert side.growth is None


def test_the_time_constant_is_the_growth_of_a_far_loss():
    """From the last step alone, below threshold: dL/dx[t] falls by beta per step back."""
    net = Sequential(LIF(beta=0.7))
    (layer,) = gradient_flow(net, torch.full((20, 1, 1), 0.01), loss=lambda y: y[-1].sum()).layers
    assert layer.growth == pytest.approx(0.7, rel=1e-5)


def test_straight_through_explodes_in_a_recurrent_net():
    """ARTICLE 5.3: a straight-through derivative of 1 everywhere grows without bound."""
    torch.manual_seed(0)
    growths = {}
    for name in ("straight_through", "triangle"):
        net = Sequential(Recurrent(LIF(20.0, surrogate=name), 64))
        with torch.no_grad():
            net[0].connection.weight.normal_(0, 2 / 8)
        x = torch.rand(50, 4, 64)
        growths[name] = gradient_flow(net, x, loss=lambda y: y[-1].sum()).layers[0].growth
    assert growths["straight_through"] > 1.5 > growths["triangle"]


def test_growth():
    assert growth_of((1.0, math.inf)) == math.inf
    assert growth_of((math.nan, 1.0)) == math.inf
    assert growth_of((0.0, 0.0)) is None
    assert growth_of((0.0, 9.0, 3.0, 1.0, 0.0)) == pytest.approx(3.0)


def test_text_has_one_line_and_one_table():
    net = Sequential(Linear(4, 8), LIF(10.0), Linear(8, 3))
    flow = gradient_flow(net, torch.rand(3, 2, 4), loss=lambda y: y.square().sum())
    assert "\n" not in flow.line()
    assert "\n" not in flow.layers[0].line()
    assert "1 (LIF)" in flow.table()
    assert "0.weight" in flow.table()


@pytest.mark.parametrize(
    ("net", "x", "loss", "error", "words"),
    [
        (nn.Linear(2, 2), torch.rand(3, 2, 2), torch.sum, UserError, "neurons of this package"),
        (LIF(9.0), torch.rand(3, 2, 2), lambda y: y, UserError, "scalar"),
        (LIF(9.0), torch.rand(3, 2, 2), lambda y: 1.0, TypeError, "tensor"),
        (LIF(9.0), [1.0], torch.sum, TypeError, "x as a tensor"),
        (LIF(9.0), torch.full((3, 2, 2), math.inf), torch.sum, UserError, "finite"),
        ("net", torch.rand(3, 2, 2), torch.sum, TypeError, "Module"),
    ],
)
def test_errors_say_what_was_expected(net, x, loss, error, words):
    with pytest.raises(error, match=words):
        gradient_flow(net, x, loss=lambda y: loss(y))
