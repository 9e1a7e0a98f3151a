"""Losses on spike times and populations against closed forms, and networks that learn by them."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from spikegrad import analysis
from spikegrad import functional as F
from spikegrad.errors import UserError
from spikegrad.nn import LIF, Linear, Population, Sequential
from spikegrad.train import Objective, evaluate, fit, predict

QUIET = {"progress": False, "preflight": "off", "tensorboard": False}


def trains(p: float, *shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator) < p).float()


# van Rossum


def test_van_rossum_is_the_mean_of_the_squared_distance() -> None:
    s, target = trains(0.2, 30, 4, 3), trains(0.2, 30, 4, 3, seed=1)
    got = F.van_rossum(s, target, tau=8.0, dt=0.5)
    each = analysis.van_rossum_distance(s, target, tau=8.0, dt=0.5)
    torch.testing.assert_close(got, each.square().mean())
    torch.testing.assert_close(
        F.van_rossum(s, target.transpose(0, 1), tau=8.0, dt=0.5, first="batch"), got
    )
    assert F.van_rossum(s, s.bool(), tau=8.0).item() == 0.0
    x = torch.rand(6, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: F.van_rossum(x, target[:6, :2, :2].double(), tau=3.0), (x,)
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tau": 0.0}, "expected a finite tau > 0 ms, got 0.0"),
        ({"tau": 5.0, "first": "batch"}, "shape [4, 30, 3] for s [30, 4, 3] and first='batch'"),
        ({"tau": 5.0, "first": "steps"}, "unknown first 'steps'"),
    ],
)
def test_van_rossum_says_what_it_cannot_take(options, words: str) -> None:
    s = trains(0.2, 30, 4, 3)
    with pytest.raises(UserError) as caught:
        F.van_rossum(s, s, **options)
    assert words in str(caught.value)
    with pytest.raises(UserError, match='needs first="batch"; truncated BPTT does not go'):
        F.van_rossum(s, s.transpose(0, 1), tau=5.0)
    with pytest.raises(UserError, match="expected b to be finite"):
        F.van_rossum(s, s / 0, tau=5.0)


def test_a_neuron_learns_spike_times_by_van_rossum() -> None:
    torch.manual_seed(0)
    x, target = trains(0.2, 40, 1, 50), torch.zeros(40, 1, 1)
    target[[8, 20, 33]] = 1.0
    network = Sequential(Linear(50, 1), LIF(10.0))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.van_rossum(network(x)[0], target, tau=10.0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses) < 0.3 * losses[0]


def target_trains() -> tuple[list[tuple[torch.Tensor, torch.Tensor]], Sequential]:
    """One batch of sequences with target trains `[B, T, 2]`, and a network."""
    torch.manual_seed(0)
    data = [(trains(0.2, 4, 20, 30), trains(0.2, 4, 20, 2, seed=1))]
    return data, Sequential(Linear(30, 2), LIF(10.0))


def test_fit_takes_target_trains_from_a_loader() -> None:
    data, network = target_trains()
    x, target = (part.transpose(0, 1) for part in data[0])
    want = F.van_rossum(network(x)[0], target, tau=5.0).item()
    loss = partial(F.van_rossum, tau=5.0, first="batch")
    options = {"objective": loss, "sequence": True, "learning_rate": 1e-2, **QUIET}
    result = fit(network, data, val_loader=data, epochs=3, **options)
    assert result.history[0]["train_loss"] == pytest.approx(want)
    assert result.val_accuracy is None, "trains are no classes"
    found = evaluate(network, data, objective=loss, sequence=True)
    assert found.loss == pytest.approx(F.van_rossum(network(x)[0], target, tau=5.0).item())


def test_chunks_do_not_go_with_target_trains() -> None:
    data, network = target_trains()
    loss = partial(F.van_rossum, tau=5.0, first="batch")
    with pytest.raises(UserError, match="truncated BPTT does not go with it"):
        fit(network, data, objective=loss, sequence=True, truncate=10, epochs=1, **QUIET)


# First spike


def test_first_spike_is_torchs_cross_entropy_on_the_times() -> None:
    s, labels = trains(0.1, 20, 6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    s[:, 0] = 0.0
    times = torch.full((6, 3), 20.0)
    for b in range(6):
        for c in range(3):
            train = s[:, b, c].tolist()
            times[b, c] = train.index(1.0) if 1.0 in train else 20.0
    for dt, temperature, smoothing in ((1.0, 1.0, 0.0), (0.5, 4.0, 0.2)):
        got = F.first_spike(s, labels, dt=dt, temperature=temperature, label_smoothing=smoothing)
        want = cross_entropy(-dt * times / temperature, labels, label_smoothing=smoothing)
        torch.testing.assert_close(got, want)


def test_silent_outputs_have_a_loss_and_a_gradient() -> None:
    s = torch.zeros(10, 1, 3, requires_grad=True)
    loss = F.first_spike(s, torch.tensor([1]), temperature=5.0)
    assert loss.item() == pytest.approx(math.log(3))
    loss.backward()
    assert s.grad is not None
    assert (s.grad[:, 0, 1] < 0).all(), "spikes of the right class lower the loss"
    assert (s.grad[:, 0, [0, 2]] > 0).all()
    assert s.grad[0, 0, 1] < s.grad[9, 0, 1], "early ones more"


def test_first_spike_has_the_floor_of_counts() -> None:
    s = torch.zeros(10, 1, 4)
    s[:, 0, 2] = 1.0
    for temperature in (1.0, 7.0):
        objective = Objective("first_spike", temperature=temperature)
        best = objective(s, torch.tensor([2])).item()
        assert best == pytest.approx(objective.floor(4, steps=10), abs=1e-6)
        torch.testing.assert_close(
            objective.scores(s), torch.tensor([[-10.0, -10, 0, -10]]) / temperature
        )


@pytest.mark.parametrize(
    ("s", "words"),
    [
        (torch.full((4, 2, 3), 1.5), "read output spikes, not membranes"),
        (torch.full((4, 2, 3), -1.0), "membranes are no spikes"),
        (torch.zeros(4, 2), "expected y of shape [T, B, C], got [4, 2]"),
        (torch.zeros(4, 2, 2), "expected labels in 0..1, got 0 to 2"),
    ],
)
def test_first_spike_says_what_it_cannot_read(s: torch.Tensor, words: str) -> None:
    with pytest.raises(UserError) as caught:
        F.first_spike(s, torch.tensor([0, 2]))
    assert words in str(caught.value)
    with pytest.raises(UserError, match="expected a finite temperature > 0 ms"):
        F.first_spike(torch.zeros(4, 2, 3), torch.tensor([0, 2]), temperature=0.0)


def batches(count: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Three classes, each bright in two of six values."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        y = torch.randint(0, 3, (20,), generator=generator)
        x = 0.2 * torch.rand(20, 6, generator=generator)
        for place in (2 * y, 2 * y + 1):
            x[torch.arange(20), place] += 1.0
        found.append((x, y))
    return found


def network_of(outputs: int, *last: torch.nn.Module) -> Sequential:
    torch.manual_seed(0)
    return Sequential(Linear(6, 32), LIF(10.0), Linear(32, outputs), LIF(10.0), *last)


def test_a_silent_network_learns_by_first_spikes() -> None:
    """No output spikes at the start: the gradient of silence makes them."""
    network = network_of(3)
    with torch.no_grad():
        network[2].weight.mul_(0.05)
        network[2].bias.zero_()
    x, labels = batches(1)[0]
    x = x.expand(8, *x.shape)
    assert network(x)[0].sum() == 0
    optimizer = torch.optim.Adam(network.parameters(), 2e-2)
    for _ in range(20):
        optimizer.zero_grad()
        F.first_spike(network(x)[0], labels, temperature=2.0).backward()
        optimizer.step()
    options = {"objective": Objective("first_spike", temperature=2.0), "steps": 8}
    assert evaluate(network, batches(2), **options).accuracy > 0.9


@pytest.mark.parametrize("objective", ["first_spike", Objective("first_spike")])
def test_chunks_have_no_first_spike(objective, tmp_path) -> None:
    options = {"objective": objective, "truncate": 4, "epochs": 1, "out": tmp_path / "run"}
    with pytest.raises(UserError, match="truncate=0 with the objective first_spike, got 4"):
        fit(network_of(3), batches(), **options, **QUIET)
    assert list(tmp_path.iterdir()) == []


def test_membranes_are_refused_before_anything_is_written(tmp_path) -> None:
    torch.manual_seed(0)
    network = Sequential(Linear(6, 32), LIF(10.0), Linear(32, 3))
    with pytest.raises(UserError, match="membranes are no spikes"):
        fit(network, batches(), objective="first_spike", out=tmp_path / "run", epochs=1, **QUIET)
    assert list(tmp_path.iterdir()) == []


# Populations


@pytest.mark.parametrize("how", ["mean", "sum"])
def test_a_population_is_a_group_of_neighbours(how: str) -> None:
    y = torch.rand(5, 2, 6)
    groups = [y[..., 0:2], y[..., 2:4], y[..., 4:6]]
    want = torch.stack([getattr(g, how)(2) for g in groups], 2)
    torch.testing.assert_close(F.population(y, 3, how=how), want)
    torch.testing.assert_close(Population(3, how=how)(y), want)
    assert repr(Population(3, how=how)) == f"Population(3, how='{how}')"


def test_any_objective_reads_populations() -> None:
    """By name with the layer, and by a loss of one's own with the function."""
    named, own = network_of(12, Population(3)), network_of(12)

    def loss(y, labels):
        return F.rate_cross_entropy(F.population(y, 3), labels, temperature=0.2)

    def scores(y):
        return F.population(y, 3).mean(0)

    options = {"epochs": 3, "learning_rate": 2e-2, "steps": 8, "test_loader": batches(2), **QUIET}
    by_name = fit(named, batches(), objective="rate_ce", temperature=0.2, **options)
    by_hand = fit(own, batches(), objective=loss, scores=scores, **options)
    torch.testing.assert_close(named[2].weight, own[2].weight)
    assert by_name.test_accuracy == by_hand.test_accuracy > 0.9
    labels, found = predict(named, batches(1)[0][0], objective="rate_ce", steps=8)
    assert found.shape == (20, 3)
    assert labels.max() <= 2


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda y: F.population(y, 4), UserError, "N a multiple of 4 classes, got [5, 2, 6]; give"),
        (lambda y: F.population(y[0], 3), UserError, "expected y of shape [T, B, N]"),
        (lambda y: F.population(y, 0), UserError, "expected classes >= 1, got 0"),
        (lambda y: F.population(y, 2.0), TypeError, "classes as a whole number, got 2.0"),
        (lambda y: F.population(y, 3, how="max"), UserError, "unknown how 'max'"),
        (lambda y: Population(0), UserError, "expected classes >= 1"),
        (lambda y: Population(3, how="max"), UserError, "unknown how 'max'"),
    ],
)
def test_what_is_no_population_is_said(call, error: type, words: str) -> None:
    with pytest.raises(error) as caught:
        call(torch.rand(5, 2, 6))
    assert words in str(caught.value)
