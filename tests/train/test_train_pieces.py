"""Schedules, encoders, averages, progress: the pieces of a run one by one."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from spikegrad.errors import UserError
from spikegrad.nn import LIF, Linear, Sequential
from spikegrad.train.average import Average, using
from spikegrad.train.encoder import Encoder
from spikegrad.train.objective import OBJECTIVES, Objective
from spikegrad.train.optimizers import make_optimizer, parameter_groups
from spikegrad.train.progress import Lines, LiveBar
from spikegrad.train.schedule import learning_rate_factor
from spikegrad.train.signals import Interrupted
from spikegrad.train.state import Best
from spikegrad.train.terminal import Screen


@pytest.mark.parametrize("kind", ["constant", "cosine", "onecycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("total", [1, 7, 1000])
def test_learning_rates_stay_in_bounds(kind, warmup, total):
    factors = [learning_rate_factor(kind, s, total, warmup=warmup) for s in range(total + 3)]
    assert all(0.0 < f <= 1.0 for f in factors)
    peak = factors.index(max(factors))
    assert factors[:peak] == sorted(factors[:peak])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_cosine_falls_as_its_formula():
    total, w = 400, 0.1
    for step in (50, 200, 399):
        p = (step + 0.5) / total
        expected = 0.5 * (1 + math.cos(math.pi * (p - w) / (1 - w)))
        assert learning_rate_factor("cosine", step, total, warmup=w) == pytest.approx(expected)


def test_encoders_give_time_first():
    x = torch.rand(3, 4, 5)
    for name in ("direct", "poisson", "latency"):
        assert Encoder(name, steps=7, shape=(-1,))(x).shape == (7, 3, 20)
    assert Encoder("direct", sequence=True)(x).shape == (4, 3, 5)
    assert Encoder("delta", sequence=True)(x).shape == (4, 3, 10)
    assert Encoder("direct", steps=7, shape=(-1,))(x).stride(0) == 0, "no memory over time"
    assert torch.equal(Encoder("direct", sequence=True)(x)[1, 2], x[2, 1])


@pytest.mark.parametrize(
    ("name", "sequence"), [("delta", False), ("poisson", True), ("latency", True), ("rate", False)]
)
def test_encoders_that_do_not_go(name, sequence):
    with pytest.raises(UserError, match="encoder"):
        Encoder(name, sequence=sequence)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_right_answer_has_the_lower_loss(name):
    labels = torch.tensor([0, 2])
    right = torch.zeros(6, 2, 3)
    right[:, [0, 1], labels] = 1.0
    objective = Objective(name)
    assert objective.scores(right).argmax(1).tolist() == [0, 2]
    assert objective(right, labels) < objective(right, labels.flip(0))
    assert objective(right, labels).item() >= objective.floor(3, steps=6) - 1e-6


def test_averages_follow_and_go_back():
    layer = nn.Linear(1, 1, bias=False)
    average = Average(layer, 0.5)
    with torch.no_grad():
        before = layer.weight.item()
        layer.weight.add_(1.0)
    average.update(layer, 1000)
    assert average.weights["weight"].item() == pytest.approx(before + 0.5)
    with using(layer, average.weights):
        assert layer.weight.item() == pytest.approx(before + 0.5)
    assert layer.weight.item() == pytest.approx(before + 1.0)


def test_weight_decay_spares_what_it_must():
    network = Sequential(Linear(3, 4), LIF(20.0, learn=("tau_mem", "threshold"), size=4))
    decayed, spared = parameter_groups(network, 0.1)
    assert [p.shape for p in decayed["params"]] == [(4, 3)]
    assert len(spared["params"]) == 3
    assert spared["weight_decay"] == 0.0


def test_an_optimizer_of_something_else_is_refused():
    from spikegrad.train.config import TrainingConfig

    other = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    with pytest.raises(UserError, match="expected an optimizer of the network's parameters"):
        make_optimizer(other, nn.Linear(1, 1), TrainingConfig())
    with pytest.raises(UserError, match="expected a network with parameters to train"):
        make_optimizer("adam", nn.ReLU(), TrainingConfig())


def test_the_chosen_epoch():
    best = Best(epoch=1, accuracy=0.9, loss=0.5)
    assert best.beaten_by(0.91, 0.9)
    assert not best.beaten_by(0.9, 0.5)
    assert best.beaten_by(0.9, 0.4)
    assert Best(epoch=1).beaten_by(None, None), "without validation the last one"


@pytest.mark.parametrize("kind", [Lines, LiveBar])
@pytest.mark.parametrize("batches", [2, None])
def test_progress_shows_an_epoch_a_line(kind, batches):
    out = io.StringIO()
    console = Screen(file=out, force_terminal=kind is LiveBar, width=150)
    watcher = kind(console, {"1": "hidden 1 (layer 1)"})
    watcher.say("a finding about [T, B, 3]", "yellow")
    watcher.start(epochs=2, batches=batches, epoch=0)
    for epoch in (1, 2):
        for batch in (1, 2):
            watcher.step(batch=batch, loss=0.5, accuracy=0.25, rates={"1": 0.125})
        line = {"epoch": epoch, "train_loss": 0.5, "train_accuracy": 0.25, "seconds": 1.0}
        watcher.epoch({**line, "val_accuracy": 0.75, "firing_rates": {"1": 0.1}}, chosen=True)
    watcher.stop()
    text = out.getvalue()
    assert "[T, B, 3]" in text
    for epoch in (1, 2):
        assert (
            f"epoch {epoch}/2  loss 0.5000  train 0.2500  validation 0.7500*  rates: hidden 1 0.100"
            in text
        )


def test_a_signal_is_told_by_name():
    assert str(Interrupted(15)) == "stopped by SIGTERM"
    saved = (
        "stopped by SIGINT; it is saved in runs/a: fit with this out and resume=True continues it"
    )
    assert str(Interrupted(2, Path("runs/a"))) == saved
