"""Every finding: a network that has it, and one that has not."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from spikegrad import LI, LIF, Flatten, Linear, Recurrent, Sequential, Spiking
from spikegrad.diagnose import Finding, preflight
from spikegrad.functional import (
    count_cross_entropy,
    count_mse,
    membrane_cross_entropy,
    rate_cross_entropy,
    tet,
)
from spikegrad.nn import Classifier, calibrate, initialise, models
from spikegrad.surrogate import arctan, triangle

LABELS = torch.arange(64) % 10


def digits_like(steps: int = 10, *, seed: int = 0) -> torch.Tensor:
    """MNIST-like input: 20 % of 784 values active, the same at every step."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(64, 784, generator=g) * (torch.rand(64, 784, generator=g) < 0.2)
    return x.expand(steps, 64, 784)


def look(network, x=None, labels=LABELS, loss=membrane_cross_entropy, **more) -> list[Finding]:
    return preflight(network, digits_like() if x is None else x, labels, loss=loss, **more)


def having(found: list[Finding], words: str) -> list[Finding]:
    return [f for f in found if words in f.line()]


def serious(found: list[Finding]) -> list[str]:
    return [f.line() for f in found if f.severity != "info"]


@pytest.fixture(scope="module")
def ready() -> Sequential:
    """A calibrated network without fault."""
    torch.manual_seed(0)
    network = models.mlp(784, [128, 64], 10)
    calibrate(network, digits_like(), rate=0.05)
    return network


@pytest.fixture
def net(ready) -> Sequential:
    return copy.deepcopy(ready)


# -- nothing to say ------------------------------------------------------------------


@pytest.mark.parametrize("loss", [membrane_cross_entropy, rate_cross_entropy, tet, count_mse])
def test_a_calibrated_network_gets_no_finding(net, loss):
    assert serious(look(net, loss=loss)) == []


@pytest.mark.parametrize(
    ("steps", "readout"), [(10, "linear"), (25, "li"), (100, "linear"), (60, "li")]
)
def test_no_false_alarm_after_calibration(steps, readout):
    torch.manual_seed(1)
    x = digits_like(steps)
    network = models.mlp(784, [100], 10, readout=readout)
    calibrate(network, x, rate=0.05)
    assert serious(look(network, x)) == []


def test_no_false_alarm_with_norm_dropout_and_a_compact_surrogate():
    torch.manual_seed(0)
    network = models.mlp(
        784,
        [100],
        10,
        neuron=lambda n: LIF(beta=0.5, surrogate="triangle"),
        batch_norm=True,
        dropout=0.3,
    )
    assert serious(look(network, digits_like(4))) == []


# -- the article's own network ------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "seed"), [(10, 0), (10, 1), (25, 0), (25, 2), (100, 0)])
def test_the_articles_network_as_written_is_dead_and_ours_is_not(steps, seed):
    torch.manual_seed(seed)
    x = digits_like(steps, seed=seed)
    found = look(models.article(as_written=True), x, loss=rate_cross_entropy)
    (dead,) = [f for f in having(found, "never fires: membrane") if f.layer == "3"]
    assert dead.severity == "error"
    assert 0.0 < dead.measure < 0.6
    assert dead.line().startswith(f"layer 3 never fires: membrane reaches {dead.measure:.2f} of")
    advice = "use --calibrate 0.05 (in Python sg.nn.calibrate(network, x))"
    assert dead.line().endswith(f"nothing behind it sees the input; {advice}")
    assert having(found, "layer 4 learns nothing: weight gets gradient 0")
    assert [f for f in look(models.article(), x) if f.severity == "error"] == []


def test_the_advice_works():
    """`--calibrate 0.05` repairs even the article's network."""
    torch.manual_seed(0)
    network = models.article(as_written=True)
    calibrate(network, digits_like(), rate=0.05)
    assert [f for f in look(network) if f.severity == "error"] == []


# -- firing ------------------------------------------------------------------


def scaled(network: Sequential, index: int, factor: float) -> Sequential:
    with torch.no_grad():
        network[index].weight.mul_(factor)
        network[index].bias.mul_(factor)
    return network


def test_silent_and_how_far_the_membrane_reaches():
    """A constant current c fills a leaky membrane to c (1 - beta^T)/(1 - beta)."""
    neuron = Sequential(LIF(beta=0.5, threshold=2.0, v_rest=1.0))
    x = torch.tensor([0.1, 0.2]).reshape(1, 2, 1).expand(4, 2, 1)
    (found,) = having(look(neuron, x, labels=None, loss=lambda y: y.sum()), "never fires")
    assert found.measure == pytest.approx(0.2 * (1 - 0.5**4) / 0.5, rel=1e-5)
    assert "reaches 0.38 of threshold" in found.line()


def test_a_hidden_layer_that_never_fires(net):
    found = look(scaled(net, 3, 1e-3))
    assert [f.layer for f in having(found, "never fires: membrane")] == ["4"]
    assert [f.layer for f in having(found, "learns nothing: weight gets gradient 0")] == ["5"]
    assert having(found, "layer 4 never fires: repair that first")
    assert having(found, "samples become equal in layer 4")


@pytest.mark.parametrize(
    ("share", "words", "severity"),
    [
        (64, "is saturated: every neuron fires at every step", "error"),
        (60, "is nearly saturated", "warning"),
    ],
)
def test_saturated(net, share, words, severity):
    with torch.no_grad():
        net[3].weight.mul_(0.1)
        net[3].bias.fill_(-100.0)
        net[3].bias[:share] = 100.0
    (found,) = having(look(net), words)
    assert (found.layer, found.severity) == ("4", severity)
    assert found.measure > 0.9


def test_hardly_fires(net):
    """One of 64 neurons fires once: 0.115 (1 - b^t)/(1 - b) = 1 at t = 17.6 for tau = 10."""
    with torch.no_grad():
        net[3].weight.fill_(0.0)
        net[3].bias.fill_(0.0)
        net[3].bias[0] = 0.115
    (found,) = having(look(net, digits_like(20)), "hardly fires")
    assert (found.layer, found.severity) == ("4", "warning")
    assert found.measure == pytest.approx(1 / (20 * 64))


def test_most_neurons_never_fire(net):
    with torch.no_grad():
        net[3].weight[3:] = 0.0
        net[3].bias[3:] = 0.0
        net[3].bias[:3] = 0.5
    (found,) = having(look(net), "neurons that never fire in this batch")
    assert found.layer == "4"
    assert found.measure == pytest.approx(61 / 64)


def test_a_soft_network_is_not_called_silent():
    network = Sequential(Linear(784, 20), LIF(10.0, surrogate=arctan(2.0).soft()), Linear(20, 10))
    scaled(network, 0, 1e-3)
    assert serious(look(network)) == []


# -- gradient ------------------------------------------------------------------


def test_no_membrane_within_the_support():
    torch.manual_seed(0)
    network = models.mlp(784, [50], 10, neuron=lambda n: LIF(10.0, surrogate=triangle(10.0)))
    found = look(scaled(network, 1, 1e-3))
    (blocked,) = having(found, "passes no gradient")
    assert (blocked.layer, blocked.severity) == ("2", "error")
    assert "the support 0.1" in blocked.line()
    (first,) = [f for f in having(found, "learns nothing") if f.layer == "1"]
    assert first.line() == (
        "layer 1 learns nothing: weight, bias gets gradient 0, so training leaves it as it is; "
        "no gradient passes layer 2: repair that first"
    )
    tails = models.mlp(784, [50], 10, neuron=lambda n: LIF(10.0, surrogate=arctan(10.0)))
    assert not having(look(scaled(tails, 1, 1e-3)), "passes no gradient")


def test_few_membranes_within_the_support():
    x = torch.linspace(-400.0, 1.05, 400).reshape(1, 400, 1).expand(2, 400, 1)
    found = look(Sequential(Spiking(surrogate="triangle")), x, None, lambda y: y.square().sum())
    (little,) = having(found, "passes little gradient")
    assert 0 < little.measure < 0.01


def test_gradients_that_are_not_finite(net):
    with torch.no_grad():
        net[5].weight.fill_(1e30)
    found = look(net, loss=lambda y, _: y.square().mean() * 1e30)
    assert having(found, "the loss is inf")
    assert having(found, "layer 5 has a gradient that is not finite: weight, bias")
    assert having(found, "overflows on its way back")


def test_a_parameter_outside_of_the_loss(net):
    net.add_module("side", nn.Identity())
    net.side.weight = nn.Parameter(torch.ones(3, 3))
    (found,) = having(look(net), "is not part of the loss")
    assert (found.layer, found.severity) == ("side", "warning")
    net.side.weight.requires_grad_(False)
    assert serious(look(net)) == []


def test_a_zero_readout_is_a_choice_not_a_fault(net):
    nn.init.zeros_(net[5].weight)
    nn.init.zeros_(net[5].bias)
    found = look(net)
    assert {f.severity for f in having(found, "learns nothing")} == {"warning"}
    assert having(found, "the weights of layer 5 are all 0")


def test_a_quantity_belongs_to_its_neuron(net):
    net[4] = LIF(10.0, reset="subtract", learn=("v_reset", "threshold"))
    found = [f for f in look(net) if f.layer == "4"]
    assert having(found, "is not part of the loss: v_reset gets no gradient")
    assert not having(found, "threshold")


def test_the_feedback_of_a_silent_layer():
    torch.manual_seed(0)
    network = Sequential(Linear(784, 30), Recurrent(LIF(10.0), 30), Linear(30, 10))
    scaled(network, 0, 1e-3)
    (found,) = [f for f in having(look(network), "learns nothing") if f.layer == "1"]
    assert "weight gets gradient 0" in found.line()
    assert "layer 1.neuron never fires: repair that first" in found.line()


def test_exploding_over_time():
    torch.manual_seed(0)
    network = Sequential(Recurrent(LIF(20.0, surrogate="straight_through"), 64))
    with torch.no_grad():
        network[0].connection.weight.normal_(0, 2 / 8)
    x, last = torch.rand(30, 4, 64), lambda y: y[-1].sum()
    (found,) = having(look(network, x, None, last), "exploding gradient")
    assert (found.layer, found.severity) == ("0.neuron", "warning")
    assert found.measure > 1.4
    with torch.no_grad():
        network[0].connection.weight.mul_(0.01)
    assert not having(look(network, x, None, last), "exploding")


def test_vanishing_over_time():
    x = digits_like(40)
    network = Sequential(Linear(784, 20), LIF(beta=0.3), Linear(20, 10))
    last = partial(membrane_cross_entropy, over="last")
    torch.manual_seed(0)
    initialise(network, "kaiming")
    (found,) = having(look(network, x, loss=last), "vanishing gradient")
    assert found.layer == "1"
    assert found.measure < 0.6
    assert not having(look(network, x), "vanishing")  # the mean over time reaches every step


def test_vanishing_and_exploding_over_depth():
    torch.manual_seed(0)
    network = models.mlp(784, [30] * 5, 10)
    calibrate(network, digits_like(), rate=0.1)
    assert not having(look(network), "vanishes")
    for index in range(3, 11, 2):
        network[index + 1].surrogate = arctan(2.0, gain=1e-2)
    (found,) = having(look(network), "it vanishes")
    assert (found.layer, found.severity) == ("2", "warning")
    for index in range(3, 11, 2):
        network[index + 1].surrogate = arctan(2.0, gain=1e3)
    assert having(look(network), "it explodes")


# -- input, output, loss ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(5, 64, 784), "the input is silent"),
        (torch.full((5, 64, 784), 0.3), "the input is constant: every value is 0.3"),
        (torch.rand(5, 1, 784).expand(5, 64, 784), "the same for every sample of the batch"),
        (digits_like() * 255, "divide bytes by 255"),
        (digits_like() * (torch.arange(64) % 2)[:, None], "50 % of the samples is 0"),
    ],
)
def test_input(net, x, words):
    assert having(look(net, x), words)
    assert not having(look(net), words)


def test_output_the_same_for_every_sample(net):
    nn.init.zeros_(net[5].weight)
    (found,) = having(look(net), "the output is the same for every sample")
    assert found.severity == "error"
    assert "after the last spiking layer" in found.line()


def test_output_not_finite(net):
    with torch.no_grad():
        net[5].bias[0] = math.inf
    assert having(look(net), "the output is not finite")


def test_too_few_outputs(net):
    assert having(look(net, classes=11), "10 outputs for 11 classes")
    assert not having(look(net, classes=10), "outputs for")


@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_badly_scaled_scores(net, factor):
    found = having(look(scaled(net, 5, factor)), "the loss starts at")
    assert bool(found) == (factor > 1)
    if found:
        assert "an output of zeros has loss 2.3" in found[0].line()


def spiking_classifier() -> Sequential:
    torch.manual_seed(0)
    network = models.mlp(784, [50], 10, readout="spikes")
    calibrate(network, digits_like(), rate=0.1)
    return network


def test_the_floor_of_a_rate_readout():
    network = spiking_classifier()
    for floor in (None, 1.4612):
        (found,) = having(look(network, loss=rate_cross_entropy, floor=floor), "cannot go below")
        assert found.line() == (
            "the loss cannot go below 1.4612 with spikes as the output, so the loss looks stuck "
            "and the gradients never fade, however well it learns; "
            "use --temperature 0.1 (floor 0.0004), or --readout linear"
        )
    lifted = partial(rate_cross_entropy, temperature=0.1)
    assert not having(look(network, loss=lifted), "cannot go below")
    halfway = partial(rate_cross_entropy, temperature=0.5)
    assert having(look(network, loss=halfway), "use --temperature 0.1 (floor 0.0004)")


def test_labels_to_be_ignored_have_no_floor():
    """-100 is no class: no perfect output can be made up for it."""
    labels = torch.where(torch.arange(64) == 0, -100, LABELS)

    def masked(y, labels):
        return cross_entropy(y.mean(0), labels)

    assert not having(look(spiking_classifier(), labels=labels, loss=masked), "cannot go below")


@pytest.mark.parametrize(
    "loss",
    [
        count_cross_entropy,
        partial(rate_cross_entropy, temperature=0.1, label_smoothing=0.2),
        count_mse,
    ],
)
def test_no_floor_to_lift(loss):
    """Label smoothing has a floor of its own, which no temperature lifts."""
    assert not having(look(spiking_classifier(), loss=loss), "cannot go below")


def test_a_linear_readout_has_no_floor(net):
    assert not having(look(net, loss=rate_cross_entropy, floor=1.4612), "cannot go below")


# -- form ------------------------------------------------------------------


def test_findings_are_lines_in_order_of_severity(net):
    network = scaled(net, 3, 1e-3)
    network.add_module("side", nn.Identity())
    network.side.weight = nn.Parameter(torch.ones(3, 3))
    found = look(network)
    ranks = [("error", "warning", "info").index(f.severity) for f in found]
    assert ranks == sorted(ranks)
    assert ranks[0] < ranks[-1]
    assert all("\n" not in f.line() and f.advice for f in found)


class Regression(nn.Module):
    """Not a classifier, no time in its output."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Sequential(Linear(4, 30), LIF(5.0), Linear(30, 1), LI(5.0))

    def forward(self, x):
        return self.body(x)[0].mean(0)


def test_a_regression_of_the_users_own():
    torch.manual_seed(0)
    network, x = Regression(), 2 * torch.rand(10, 8, 4)
    calibrate(network, x, rate=0.1)
    assert serious(preflight(network, x, x.mean((0, 2))[:, None], loss=mse_loss)) == []


def test_a_classifier_of_static_input():
    torch.manual_seed(0)
    body = models.mlp(784, [64], 10)
    calibrate(body, digits_like())
    network = Classifier(Sequential(Flatten(), body), steps=10)
    found = preflight(network, digits_like()[0], LABELS, loss=cross_entropy)
    assert serious(found) == []
