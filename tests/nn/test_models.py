"""Initialisation, calibration, and the recipes, the article's network among them."""

from __future__ import annotations

import pytest
import torch

import spikegrad as sg
from spikegrad import functional as F
from spikegrad.errors import UserError
from spikegrad.nn import calibrate, initialise, kaiming, models, psp
from spikegrad.nn.init import fluctuation_driven
from spikegrad.nn.wiring import wiring
from spikegrad.surrogate import Surrogate, arctan, boxcar

BOX = boxcar(2.0)


def mnist_like(batch: int = 64, seed: int = 0) -> torch.Tensor:
    """784 values, 20 % of them active."""
    generator = torch.Generator().manual_seed(seed)
    active = torch.rand(batch, 784, generator=generator) < 0.2
    return active * torch.rand(batch, 784, generator=generator).clamp(0.3)


@pytest.mark.parametrize("steps", [10, 25, 100])
def test_the_articles_network_is_dead_and_ours_is_not(steps: int) -> None:
    """As written all its gradients but the last bias's are exactly 0; the reason is its gains.

    A membrane that takes (1 - beta) of a current that took (1 - alpha) of its input starts 55
    times smaller; with weights of 0.1 the second layer never comes near its threshold. Exactly 0
    holds where the surrogate ends before the membrane begins (here a boxcar of half-width 1/2);
    the tails of an arctan leave something, but nothing for the last weight.
    """
    x, labels = F.direct(mnist_like(), steps), torch.arange(64) % 10

    def run(as_written: bool, surrogate: Surrogate = BOX):
        torch.manual_seed(0)
        network = models.article(as_written=as_written)
        network[1].surrogate = network[3].surrogate = surrogate
        with sg.record(network) as tapes:
            y, _ = network(x)
            F.membrane_cross_entropy(y, labels).backward()
        gradients = {name: p.grad.abs().max().item() for name, p in network.named_parameters()}
        return tapes["3"], gradients

    tape, gradients = run(as_written=True)
    assert tape.spikes.sum() == 0
    assert tape.membrane.max() < 0.2
    assert gradients.pop("4.bias") > 0
    assert set(gradients.values()) == {0.0}

    tape, weak = run(as_written=True, surrogate=arctan(2.0))
    assert weak["4.weight"] == 0.0

    tape, gradients = run(as_written=False)
    assert tape.spikes.mean() > 0.005
    assert min(gradients.values()) > 0
    _, gradients = run(as_written=False, surrogate=arctan(2.0))
    assert gradients["0.weight"] > 20 * weak["0.weight"]


@pytest.mark.parametrize("readout", ["rate", "li"])
def test_the_articles_classifier_learns(readout: str) -> None:
    torch.manual_seed(0)
    prototypes = mnist_like(10)
    labels = torch.arange(60) % 10
    x = prototypes[labels] * (torch.rand(60, 784) < 0.8)
    model = sg.nn.Classifier(models.article(readout=readout), steps=10)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(50):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    assert (model(x).argmax(-1) == labels).float().mean() > 0.9


BUILDERS = {
    "mlp": lambda **k: models.mlp(64, [32, 16], 5, **k),
    "recurrent": lambda **k: models.recurrent(64, [32, 16], 5, **k),
    "conv": lambda **k: models.conv([1, 8, 8], [4, 6], [12], 5, **k),
}


@pytest.mark.parametrize("readout", ["linear", "spikes", "li"])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("name", BUILDERS)
def test_recipes_run_and_every_parameter_gets_a_gradient(
    name: str, norm: bool, readout: str
) -> None:
    torch.manual_seed(0)
    network = BUILDERS[name](batch_norm=norm, dropout=0.1, readout=readout)
    x = F.direct(torch.rand(6, 1, 8, 8), 5)
    calibrate(network, x, rate=0.15)
    y, states = network(x)
    assert y.shape == (5, 6, 5)
    assert len(states) == len(network)
    (y * torch.rand_like(y)).sum().backward()
    for key, p in network.named_parameters():
        assert p.grad is not None, key
        assert p.grad.abs().sum() > 0, key


def test_convolutions_learn_per_channel() -> None:
    network = models.conv(
        [1, 8, 8],
        [4, 6],
        [12],
        5,
        neuron=lambda size: sg.LIF(5.0, learn=("tau_mem", "threshold", "slope"), size=size),
    )
    x = torch.rand(5, 3, 1, 8, 8)
    calibrate(network, x, rate=0.15)
    network(x)[0].square().sum().backward()
    assert network[1].threshold().shape == (4, 1, 1)
    for key, p in network.named_parameters():
        assert p.grad.abs().sum() > 0, key


def test_stages_have_as_many_convolutions_as_asked() -> None:
    network = models.conv([1, 8, 8], [4, 6], [], 5, blocks=[1, 2], batch_norm=True)
    kinds = [type(layer).__name__ for layer in network]
    stages = ["Conv2d", "BatchNorm", "LIF", "MaxPool2d", *["Conv2d", "BatchNorm", "LIF"] * 2]
    assert kinds == [*stages, "MaxPool2d", "Flatten", "Linear"]
    sizes = [tuple(layer.weight.shape[:2]) for layer in network if isinstance(layer, sg.Conv2d)]
    assert sizes == [(4, 1), (6, 4), (6, 6)]
    twice = models.conv([1, 8, 8], [4, 6], [], 5, blocks=[2])
    assert sum(isinstance(layer, sg.Conv2d) for layer in twice) == 4


def test_recipes_refuse_wrong_sizes() -> None:
    for make, words in [
        (lambda: models.mlp(64, [0], 5), "sizes >= 1"),
        (lambda: models.mlp(64, [], 5), "at least one size in hidden"),
        (lambda: models.recurrent(64, [], 5), "at least one size in hidden"),
        (lambda: models.conv([1, 8, 8], [], [4], 5), "at least one size in channels"),
        (lambda: models.conv([1, 8, 8], [4], [0], 5), "sizes >= 1"),
        (lambda: models.conv([8, 8], [4], [], 5), r"\[C, H, W\]"),
        (lambda: models.conv([1, 8, 8], [4] * 4, [], 5), "at most 3 stages"),
        (lambda: models.conv([1, 8, 8], [4, 4], [], 5, blocks=[1, 2, 1]), "in blocks, or 2: one"),
        (lambda: models.conv([1, 8, 8], [4, 4], [], 5, blocks=[0]), "whole numbers >= 1 in blocks"),
        (lambda: models.conv([1, 8, 8], [4], [], 5, blocks=[2.0]), "whole numbers >= 1 in blocks"),
        (lambda: models.conv([1, 8, 8], [4], [], 5, blocks=[1, 2]), "one number in blocks, got"),
        (lambda: models.sew_resnet([1, 8, 8], 5, channels=[4, 4], blocks=[]), "in blocks, or 2"),
        (lambda: models.mlp(64, [8], 5, readout="rate"), "unknown readout"),
        (lambda: models.article(readout="linear"), "unknown readout"),
    ]:
        with pytest.raises(UserError, match=words):
            make()


def test_kaiming_scale() -> None:
    network = sg.Sequential(sg.Linear(300, 400), sg.LIF(20.0), sg.Linear(400, 10))
    initialise(network, "kaiming", gain=1.5, generator=torch.Generator().manual_seed(0))
    assert network[0].weight.std().item() == pytest.approx(1.5 * (2 / 300) ** 0.5, rel=0.02)
    assert network[2].weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.05)
    kaiming(network[0], gain=1.5, fan="fan_out")
    assert network[0].weight.std().item() == pytest.approx(1.5 * (2 / 400) ** 0.5, rel=0.02)
    assert network[0].bias.abs().sum() == 0


@pytest.mark.parametrize(
    "neuron",
    [
        sg.LIF(20.0),
        sg.LIF(10.0, gain="leak"),
        sg.CUBALIF(20.0, 5.0),
        sg.CUBALIF(10.0, 5.0, gain_syn="leak", gain_mem="leak"),
        sg.LI(10.0),
    ],
)
def test_psp_is_the_membranes_response_to_one_spike(neuron) -> None:
    x = torch.zeros(1000, 1, 1, dtype=torch.float64)
    x[0] = 1.0
    silent = {"threshold": 1e9} if neuron.scan != "li" else {}
    quantities = {**neuron.double().quantities(), **silent}
    *_, trace = getattr(F, neuron.scan)(x, **quantities, trace=True)
    total, squared = psp(neuron)
    assert trace.membrane.sum().item() == pytest.approx(total, rel=1e-5)
    assert trace.membrane.square().sum().item() == pytest.approx(squared, rel=1e-5)


@pytest.mark.parametrize("xi", [1.0, 2.0])
@pytest.mark.parametrize("kind", ["lif", "cuba", "recurrent"])
def test_fluctuation_driven_weights_give_the_fluctuations(kind: str, xi: float) -> None:
    """Poisson input at the stated rate: the membrane without spikes has sigma = threshold/xi."""
    torch.manual_seed(0)
    steps = 1500
    neuron = sg.CUBALIF(20.0, 5.0) if kind == "cuba" else sg.LIF(20.0)
    layer = sg.Linear(500, 400)
    behind = sg.Recurrent(neuron, 400) if kind == "recurrent" else neuron
    fluctuation_driven(layer, behind, rate=0.03, xi=xi)
    x = (torch.rand(steps, 4, 500) < 0.03).float()
    with torch.no_grad():
        current = layer(x) - layer.bias
        if kind == "recurrent":  # feedback spikes are another Poisson input here
            current = (
                current + (torch.rand(steps, 4, 400) < 0.03).float() @ behind.connection.weight.T
            )
        quantities = {**neuron.quantities(), "threshold": 1e9}
        *_, trace = getattr(F, neuron.scan)(current, **quantities, trace=True)
    # fluctuations over time, per neuron (Campbell's theorem); 1400 steps of a membrane that
    # remembers 20 to 25 take 2 % off a variance, Bernoulli spikes 3 %, one draw of weights some
    sigma = trace.membrane[100:].var(0).mean().sqrt()
    assert sigma.item() == pytest.approx(1.0 / xi, rel=0.06)


def test_initialise_refuses_what_it_cannot_do() -> None:
    with pytest.raises(UserError, match="unknown method"):
        initialise(models.mlp(4, [3], 2), "xavier")
    with pytest.raises(UserError, match="Linear or Conv"):
        initialise(sg.LIF(5.0))
    with pytest.raises(UserError, match="smaller"):
        fluctuation_driven(sg.Linear(10, 5), sg.LIF(20.0), mu=0.9, xi=3.0)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("norm", [False, True])
def test_calibrate_reaches_the_rate_from_silence(norm: bool, rate: float) -> None:
    torch.manual_seed(0)
    network = models.mlp(784, [128, 64, 32], 10, batch_norm=norm, dropout=0.3)
    with torch.no_grad():
        for wire in wiring(network):
            wire.connection.weight.mul_(0.01)
    buffers = {k: v.clone() for k, v in network.named_buffers()}
    x = F.direct(mnist_like(), 20)
    done = calibrate(network, x, rate=rate)
    network.train()
    with sg.record(network.eval() if not norm else network, membrane=False) as tapes:
        network(x)
    assert [layer.layer for layer in done] == list(tapes)
    for layer in done:
        assert layer.after == pytest.approx(rate, rel=0.05)
    if not norm:
        for tape in tapes.values():
            assert tape.spikes.mean().item() == pytest.approx(rate, rel=0.05)
    else:
        return
    assert all(torch.equal(v, buffers[k]) for k, v in network.named_buffers())


def test_calibrate_undoes_everything_when_it_fails() -> None:
    network = models.mlp(20, [10, 5], 2)
    initialise(network)  # biases 0, so that a silent input drives nothing
    before = {k: v.clone() for k, v in network.state_dict().items()}
    network.train()
    with pytest.raises(
        UserError, match=r"expected layer 2 to reach 0\.1 .* a factor of 5\.498e\+11;"
    ):
        calibrate(network, torch.zeros(5, 4, 20), rate=0.1)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
    assert network.training
    with pytest.raises(UserError, match=r"rate in \(0, 1\)"):
        calibrate(network, torch.rand(5, 4, 20), rate=0.0)


@pytest.mark.parametrize("kind", [sg.AdEx, sg.GLIF])
def test_calibrate_goes_as_far_as_the_unit_of_the_current_asks(kind) -> None:
    """It stopped at a factor of 1e4 and asked to check whether the input is silent."""
    torch.manual_seed(0)
    network = sg.Sequential(sg.Linear(20, 30, bias=False), kind(backend="reference"))
    with torch.no_grad():
        network[0].weight.mul_(1e-3)
    x = (torch.rand(40, 4, 20) < 0.1).float()
    (done,) = calibrate(network, x, rate=0.02)
    assert done.factor > 1e5
    assert done.after == pytest.approx(0.02, rel=0.05)
    with pytest.raises(UserError, match="at a factor of 8;"):
        calibrate(network, x, rate=0.2, largest=10.0)


def test_calibrate_ends_where_a_larger_factor_changes_nothing() -> None:
    """Half of the neurons have negative weights and never fire: the rate ends at a half."""
    network = sg.Sequential(sg.Linear(1, 2, bias=False), sg.LIF(20.0, reset="zero"))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    with pytest.raises(UserError, match=r"rate 0\.5 at a factor of 8192;"):
        calibrate(network, torch.ones(4, 1, 1), rate=0.9)


def test_calibrate_leaves_a_step_without_spikes_alone() -> None:
    """Its membranes were taken for spikes."""

    def average(x, s, p):
        v = p.beta * s.v + (1 - p.beta) * x
        return v, {"v": v}

    readout = sg.neuron(states={"v": 0.0}, parameters={"beta": 0.9}, spikes=False)(average)
    network = sg.Sequential(sg.Linear(20, 30), sg.LIF(20.0), sg.Linear(30, 4), readout())
    (done,) = calibrate(network, torch.rand(10, 4, 20), rate=0.1)
    assert done.layer == "1"


def test_calibrate_the_articles_network() -> None:
    """What the preflight advises for it works."""
    torch.manual_seed(0)
    network = models.article(as_written=True)
    x = F.direct(mnist_like(), 25)
    done = calibrate(network, x, rate=0.05)
    assert [round(layer.after, 2) for layer in done] == [0.05, 0.05]
