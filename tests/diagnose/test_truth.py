"""The truth meter against closed forms, finite differences, `verify` and its own two ways."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
from broken import digits, mlp
from torch import nn

import spikegrad as sg
from spikegrad import ALIF, CUBALIF, IF, LI, LIF, Linear, Recurrent, Sequential, Spiking, UserError
from spikegrad.diagnose import truth
from spikegrad.diagnose.agreement import Agreement, Estimate, agreement, exact_agreement
from spikegrad.diagnose.batch import batch_of
from spikegrad.diagnose.enumeration import enumerated, expected_loss
from spikegrad.diagnose.flips import draws_of
from spikegrad.diagnose.trial import Trial
from spikegrad.diagnose.truth import LayerTruth, Truth, check_truth, sampled
from spikegrad.surrogate import arctan, get, sigmoid, straight_through, triangle
from spikegrad.verify.claims import two_layers as claims

STEP = 1e-5


def trial_of(network: nn.Module, batch, *, loss=None, samples: int = 99) -> Trial:
    return Trial(network, batch_of(network, batch, loss), samples)


# -- one and two layers without time, by the claims of `verify` ----------------------------------


@pytest.mark.parametrize("width", [2, 4, 8])
def test_two_layers_are_biased_as_verify_says(width):
    """The same network as the check two-layers, whose gradients are computed another way."""
    record, g = sigmoid(3.0), torch.Generator().manual_seed(0)
    a = 1.0 + 0.5 * torch.randn(1, width, generator=g, dtype=torch.float64)
    v = (1.0 + 2 * torch.rand(1, width, generator=g, dtype=torch.float64)) / width
    network = Sequential(
        Linear(1, width, bias=False), Spiking(surrogate=record),
        Linear(width, 1, bias=False), Spiking(surrogate=record),
    ).double()  # fmt: skip
    with torch.no_grad():
        network[0].weight.copy_(a.T)
        network[2].weight.copy_(v)
    x = torch.ones(1, 1, 1, dtype=torch.float64)
    expected, exact = enumerated(trial_of(network, x, loss=lambda y: y.mean()))
    got = dict(zip(("0", "2"), claims.surrogate_gradients(record, a, v), strict=True))
    true = dict(zip(("0", "2"), claims.exact_gradients(record, a, v), strict=True))
    for layer in ("0", "2"):
        torch.testing.assert_close(expected[layer], got[layer][0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(exact[layer], true[layer][0], rtol=1e-5, atol=1e-7)
    found = truth(network, x, loss=lambda y: y.mean())
    assert found.way == "enumeration"
    assert found.layer("0").noisy.bias.value == pytest.approx(
        claims.relative(got["0"], true["0"]), rel=1e-4
    )
    assert found.layer("2").noisy.bias.value < 1e-6


@pytest.mark.parametrize("name", ["arctan", "sigmoid", "triangle", "boxcar", "gaussian"])
def test_one_layer_is_exact(name):
    """Of the expected spike of one step the surrogate gradient is the gradient."""
    torch.manual_seed(0)
    network = Sequential(Linear(4, 3), Spiking(surrogate=get(name))).double()
    x = 2 * torch.rand(1, 5, 4, dtype=torch.float64)
    layer = truth(network, x, loss=lambda y: y.mean()).layer("0")
    for found in (layer.noisy, layer.trained):
        assert found.cosine.value == pytest.approx(1.0)
        assert found.bias.value < 1e-12
        assert (found.sign, found.cosine.error) == (1.0, 0.0)


# -- time: the expected loss by hand -------------------------------------------------------------


def by_hand(w: torch.Tensor, v: torch.Tensor, theta: float, beta: float, x: torch.Tensor) -> float:
    """The expected loss of two LIF neurons that reset by subtraction, in plain Python.

    F of arctan(3) is 1/2 + atan(3 d)/pi. The readout is linear, the loss the squared distance of
    its mean over time from 1.
    """
    total, steps = 0.0, len(x)
    for bits in itertools.product((0, 1), repeat=2 * steps):
        chance, membrane, read = 1.0, [0.0, 0.0], 0.0
        for t in range(steps):
            for n in range(2):
                u = beta * membrane[n] + float(w[n, 0] * x[t])
                p = 0.5 + math.atan(3.0 * (u - theta)) / math.pi
                s = bits[2 * t + n]
                chance *= p if s else 1.0 - p
                membrane[n] = u - s * theta
                read += s * float(v[0, n]) / steps
        total += chance * (read - 1.0) ** 2
    return total


def test_a_layer_in_time_by_hand():
    torch.manual_seed(0)
    network = Sequential(
        Linear(1, 2, bias=False),
        LIF(beta=0.75, surrogate=arctan(3.0), threshold=0.75, learn="threshold"),
        Linear(2, 1, bias=False),
    ).double()
    x = torch.tensor([0.9, 0.2, 1.1], dtype=torch.float64)
    w, v = network[0].weight.detach().clone(), network[2].weight.detach().clone()
    target = torch.ones(1, 1, dtype=torch.float64)
    theta = network[1].threshold().item()  # was float32 once
    trial = trial_of(network, (x.reshape(3, 1, 1), target))
    assert expected_loss(trial) == pytest.approx(by_hand(w, v, theta, 0.75, x), rel=1e-12)
    _, exact = enumerated(trial)
    for layer, weight in (("0", w), ("2", v)):
        for i in range(2):
            ends = []
            for sign in (1, -1):
                moved = weight.clone().reshape(-1)
                moved[i] += sign * STEP
                pair = (moved.reshape(2, 1), v) if layer == "0" else (w, moved.reshape(1, 2))
                ends.append(by_hand(*pair, theta, 0.75, x))
            difference = (ends[0] - ends[1]) / (2 * STEP)
            assert exact[layer][i].item() == pytest.approx(difference, rel=1e-6, abs=1e-9)
    ends = [by_hand(w, v, theta + h, 0.75, x) for h in (STEP, -STEP)]
    raw = network[1].threshold.raw.detach()
    scale = (torch.autograd.grad(network[1].threshold(), network[1].threshold.raw)[0]).item()
    assert raw.dim() == 0
    assert exact["1"].item() == pytest.approx((ends[0] - ends[1]) / (2 * STEP) * scale, rel=1e-6)


# -- every kind of neuron: finite differences of the expected loss ------------------------------


class Flowing(sg.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.lif1 = Linear(3, 2), LIF(10.0)
        self.on, self.skip, self.lif2, self.out = Linear(2, 2), Linear(3, 2), LIF(5.0), Linear(2, 2)

    def flow(self, x):
        return self.out(self.lif2(self.on(self.lif1(self.into(x))) + self.skip(x)))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell, self.head = nn.Linear(3, 3), LIF(10.0), nn.Linear(3, 2)

    def forward(self, x):
        state, total = None, 0.0
        for x_t in x:
            s, state = self.cell(self.embed(x_t)[None], state)
            total = total + self.head(s[0])
        return total / len(x)


def between(neuron: nn.Module) -> nn.Module:
    return Sequential(Linear(3, 3), neuron, Linear(3, 2), LI(5.0))


NETWORKS = {
    "IF": lambda: between(IF()),
    "LIF": lambda: between(LIF(10.0)),
    "attached reset": lambda: between(LIF(10.0, detach_reset=False)),
    "reset to zero": lambda: between(LIF(10.0, reset="zero", v_reset=0.1)),
    "late reset": lambda: between(LIF(10.0, reset_delay=True)),
    "refractory": lambda: between(LIF(10.0, refractory=2.0)),
    "learned": lambda: between(LIF(10.0, learn=("tau_mem", "threshold", "slope"), size=3)),
    "CUBALIF": lambda: between(CUBALIF(10.0, 5.0)),
    "ALIF": lambda: between(ALIF(10.0, 20.0, kappa=0.5)),
    "AdEx": lambda: between(sg.SEAdLIF()),
    "without memory": lambda: between(Spiking(learn="threshold")),
    "unit peak": lambda: between(LIF(10.0, surrogate=arctan(3.0, normalisation="peak"))),
    "gain": lambda: between(LIF(10.0, surrogate=triangle(0.8, gain=0.3))),
    "membranes": lambda: Sequential(Linear(3, 3), LIF(10.0, output="membrane"), Linear(3, 2)),
    "feedback": lambda: between(Recurrent(LIF(10.0), 3)),
    "spikes as output": lambda: Sequential(Linear(3, 2), LIF(10.0), Linear(2, 2), LIF(5.0)),
    "a skip connection": Flowing,
    "plain torch": Plain,
}


def in_double(y, labels):
    """Cross-entropy in the output's own precision, of the mean over time."""
    return nn.functional.cross_entropy(y.mean(0) if y.dim() == 3 else y, labels)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_exact_gradient_is_that_of_the_expected_loss(name):
    """Along a random direction of all parameters, for every kind of neuron, reset and layer."""
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    steps = 2 if name in ("spikes as output", "a skip connection") else 3
    x, labels = 1.5 * torch.rand(steps, 2, 3, dtype=torch.float64), torch.tensor([0, 1])
    trial = trial_of(network, (x, labels), loss=in_double)
    _, exact = enumerated(trial)
    g = torch.Generator().manual_seed(1)
    direction = {
        layer: [torch.randn(p.shape, generator=g, dtype=torch.float64) for p in group]
        for layer, group in trial.parameters.items()
    }
    for layer, group in trial.parameters.items():
        ends = []
        for sign in (1, -2, 1):  # there, back beyond, and where it was
            with torch.no_grad():
                for p, d in zip(group, direction[layer], strict=True):
                    p.add_(d, alpha=sign * STEP)
            ends.append(expected_loss(trial))
        along = torch.cat([d.flatten() for d in direction[layer]])
        difference = (ends[0] - ends[1]) / (2 * STEP)
        assert float(exact[layer] @ along) == pytest.approx(difference, rel=1e-5, abs=1e-8), layer


def test_the_expected_surrogate_gradient_is_the_mean_of_the_librarys_own():
    """20,000 samples of `spike='escape'` with the library's own noise."""
    torch.manual_seed(0)
    network = Sequential(Linear(3, 2), LIF(10.0, spike="escape"), Linear(2, 2)).double()
    x, labels = 1.5 * torch.rand(3, 1, 3, dtype=torch.float64), torch.tensor([1])
    expected, _ = enumerated(trial_of(network, (x, labels), loss=in_double))
    many = 20_000
    y, _ = network(x.expand(3, many, 3))
    value = in_double(y, labels.expand(many))
    found = torch.autograd.grad(value, list(network.parameters()))
    for layer, pair in (("0", found[:2]), ("2", found[2:])):
        both = torch.cat([part.flatten() for part in pair])
        torch.testing.assert_close(both, expected[layer], rtol=0.0, atol=0.02)
    layer = truth(network, (x, labels)).layer("0")
    assert layer.noisy == layer.trained  # it is what training sees


# -- flips under common random numbers -----------------------------------------------------------


def small() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    network = Sequential(Linear(3, 2), LIF(10.0), Linear(2, 2), LIF(5.0), Linear(2, 2))
    return network, (1.5 * torch.rand(3, 4, 3), torch.tensor([0, 1, 1, 0]))


@pytest.mark.parametrize("trust", [0.0, 1.0, 0.5])
def test_flips_have_no_bias(trust):
    """The mean over many draws is the enumerated gradient, whatever the guess is trusted."""
    network, batch = small()
    trial = trial_of(network, batch)
    expected, exact = enumerated(trial)
    source = torch.Generator().manual_seed(0)
    draws = draws_of(trial, 80, 10, dict.fromkeys(trial.units, trust), source)
    for layer in exact:
        for true, found in (
            (exact[layer], torch.stack([draw.exact[layer] for draw in draws])),
            (expected[layer], torch.stack([draw.surrogate[layer] for draw in draws])),
        ):
            error = found.std(0) / math.sqrt(len(draws)) + 1e-6
            worst = ((found.mean(0) - true) / error).abs().max().item()
            assert worst < 4.5, (layer, worst)


def test_intervals_hold_what_they_promise():
    """95 % intervals of ten seeds, two layers and two figures: at least 32 of 40 hold it."""
    network, batch = small()
    known = truth(network, batch)
    assert known.way == "enumeration"
    right = 0
    for seed in range(10):
        found = sampled(trial_of(network, batch), 10, 20, seed)
        for layer, kind in itertools.product(("0", "2"), ("noisy", "trained")):
            value = getattr(known.layer(layer), kind).cosine.value
            cosine = getattr(found.layer(layer), kind).cosine
            right += math.isnan(cosine.value) or cosine.low <= value <= cosine.high
            assert cosine.error > 0
    assert right >= 32


def test_the_seed_repeats_and_convolutions_run():
    torch.manual_seed(0)
    network = sg.nn.models.conv([1, 8, 8], [2], [8], 10, batch_norm=True, dropout=0.2)
    x, labels = digits()
    batch = (x[:4, :16].reshape(4, 16, 1, 8, 8), labels[:16])
    first, again, other = (
        truth(network, batch, draws=3, flips=8, samples=2, seed=s) for s in (1, 1, 2)
    )
    assert first.data() == again.data()
    assert first.data() != other.data()
    assert first.units == 4 * (2 * 64 + 8)
    last = list(first.layers)[-1]
    assert last.noisy.bias.value < 1e-5  # of a linear readout the gradient is exact


def test_a_surrogate_far_too_steep_is_less_true():
    """Zenke & Vogels 2021: robust to the shape, not to the scale; here is the figure for it."""
    found = {}
    for slope in (2.0, 50.0):
        torch.manual_seed(0)
        network = mlp(neuron=lambda size, k=slope: LIF(10.0, surrogate=arctan(k)))
        found[slope] = truth(network, digits()).layer("1").trained.cosine
    assert found[2.0].low > 0.8
    assert found[50.0].high < found[2.0].low


# -- agreement -----------------------------------------------------------------------------------


def test_agreement_of_known_vectors():
    found = exact_agreement(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([1.0, -1.0, 1.0]))
    assert found.cosine.value == pytest.approx(1 / math.sqrt(15))
    assert found.bias.value == pytest.approx(math.sqrt(6 / 3))
    assert (found.sign, found.decided) == (0.5, pytest.approx(2 / 3))
    nothing = exact_agreement(torch.zeros(2), torch.zeros(2))
    assert math.isnan(nothing.cosine.value)
    assert nothing.decided == 0.0


def test_agreement_of_draws_has_no_bias_from_their_noise():
    """Noise far longer than the vectors: the plain cosine of means would be wrong, and is."""
    g = torch.Generator().manual_seed(0)
    s, t = torch.randn(2, 400, generator=g, dtype=torch.float64)
    t = 0.6 * s + 0.8 * t
    noise = 3.0 * torch.randn(2, 40, 400, generator=g, dtype=torch.float64)
    known = exact_agreement(s, t)
    found = agreement(s + noise[0], t + noise[1])
    plain = exact_agreement((s + noise[0]).mean(0), (t + noise[1]).mean(0))
    assert abs(found.cosine.value - known.cosine.value) < found.cosine.error < 0.3
    assert abs(found.bias.value - known.bias.value) < found.bias.error
    assert known.cosine.value - plain.cosine.value > 0.08
    assert 0.0 < found.decided < 0.9
    assert found.sign > known.sign
    hopeless = agreement(s + 100 * noise[0], t + 100 * noise[1])
    assert hopeless.cosine.text() == "?"


def test_only_what_is_surely_untrue_is_a_finding():
    def layer(cosine: float, error: float) -> LayerTruth:
        found = Agreement(Estimate(cosine, error), Estimate(1.0), 0.5, 0.5)
        return LayerTruth("3", 10, found, found)

    layers = (layer(-0.4, 0.1), layer(0.1, 0.15), layer(0.1, 0.5), layer(math.nan, math.inf))
    found = list(check_truth(Truth(layers, "common random numbers", 20, 4, 16, 128)))
    assert [finding.measure for finding in found] == [-0.4, 0.1]
    assert found[0].line() == (
        "layer 3 has a surrogate gradient of cosine -0.40 +- 0.10 with the exact gradient of the "
        "expected loss, so training does not follow the loss that it should lower; "
        "use a wider surrogate (--slope lower)"
    )


# -- what is refused, and what is left alone -----------------------------------------------------


class Scaled(LIF):
    def bound(self):
        return super().bound()


class Stranger(sg.nn.Stateful):
    def forward(self, x, state=None):
        return x, state


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (lambda: between(LIF(10.0, surrogate=straight_through())), "no probability density"),
        (lambda: between(LIF(10.0, surrogate=get("leaky"))), "no probability density"),
        (lambda: between(LIF(10.0, spike="ternary")), "has spike='ternary'"),
        (lambda: between(LIF(10.0, surrogate=arctan(2.0).soft())), "is in soft mode"),
        (lambda: between(Scaled(10.0)), "layer 1, which has a scan of its own"),
        (lambda: Sequential(Stranger(), between(LIF(10.0))), "cannot be recorded"),
        (
            lambda: Sequential(nn.BatchNorm1d(3, track_running_stats=False), between(LIF(9.0))),
            "takes its moments from the batch",
        ),
    ],
)
def test_networks_without_matched_noise_are_refused_with_the_reason(network, words):
    with pytest.raises(
        UserError, match="expected a network for which matched escape noise"
    ) as told:
        truth(network(), (torch.rand(3, 4, 3), torch.tensor([0, 1, 1, 0])))
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("batch", "loss", "words"),
    [
        (
            (9 * torch.rand(3, 4, 3),),
            lambda y: y.mean(1).square().sum(),
            "mean of the losses of its sa",
        ),
        ((torch.rand(3, 4, 3), torch.zeros(7)), lambda y, t: y.mean(), "labels of 4 samples"),
        ((torch.rand(3, 4, 3),), lambda y: y, "scalar"),
    ],
)
def test_losses_and_labels_that_cannot_be_taken_apart(batch, loss, words):
    with pytest.raises(UserError, match=words):
        truth(between(LIF(10.0)), batch, loss=loss)


@pytest.mark.parametrize("outer", [LI(5.0), LIF(5.0, threshold=1e9)])
def test_a_sum_of_losses_is_found_of_a_silent_network_whose_losses_are_0(outer):
    network = Sequential(Linear(3, 3), LIF(10.0, threshold=1e9), Linear(3, 2, bias=False), outer)
    for loss in (lambda y: y.mean(1).square().sum(), lambda y: y.mean(0).square().sum()):
        with pytest.raises(UserError, match="mean of the losses of its samples"):
            truth(network, torch.rand(3, 4, 3), loss=loss)


@pytest.mark.parametrize("wrong", [{"draws": 2}, {"samples": 0}, {"flips": 0}])
def test_numbers_out_of_range(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        truth(between(LIF(10.0)), torch.rand(3, 4, 3), **wrong)


def test_the_network_and_the_random_state_stay_as_they_are():
    torch.manual_seed(0)
    network = sg.nn.models.mlp(3, [6], 2, batch_norm=True, dropout=0.3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    batch, state = (torch.rand(5, 4, 3), torch.tensor([0, 1, 1, 0])), torch.get_rng_state()
    found = truth(network, batch, draws=3, flips=4)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert "bound" not in vars(network[3])
    json.dumps(found.data(), allow_nan=False)
    assert str(found).splitlines()[0].split()[:2] == ["layer", "cosine"]
    assert "common random numbers, 30 units a sample, 4 samples, 3 draws, 4 flips" in str(found)


def test_integers_into_an_embedding():
    torch.manual_seed(0)

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rest = nn.Embedding(5, 3), between(LIF(10.0))

        def forward(self, x):
            return self.rest(self.embed(x))[0]

    words, labels = torch.randint(5, (3, 4)), torch.tensor([0, 1, 1, 0])
    found = truth(Words(), (words, labels))
    assert [layer.name for layer in found.layers] == ["embed", "rest.0", "rest.2"]
    assert found.layer("rest.2").noisy.bias.value < 1e-5
    assert sampled(trial_of(Words(), (words, labels)), 3, 4, 0).way == "common random numbers"
