"""Objects of a user's own that see a run and may end it, and early stopping."""

from __future__ import annotations

import json

import pytest
import torch

from spikegrad.errors import UserError
from spikegrad.nn import LIF, Linear, Sequential
from spikegrad.train import fit

QUIET = {"progress": False, "preflight": "off", "tensorboard": False, "steps": 4}


def batches(count: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 10, 6, generator=generator)
    return [(part, (part[:, 0] > 0.5).long()) for part in x]


def spiking() -> Sequential:
    torch.manual_seed(0)
    return Sequential(Linear(6, 16), LIF(10.0), Linear(16, 2))


class Seen:
    """Remembers everything it is told; ends the run where it is told to."""

    def __init__(self, step: int = 0, epoch: int = 0) -> None:
        self.step, self.epoch = step, epoch
        self.steps, self.lines = [], []

    def on_step(self, seen):
        self.steps.append((seen.epoch, seen.step, seen.loss))
        return seen.step == self.step

    def on_epoch(self, seen):
        self.lines.append((seen.line["epoch"], seen.chosen, seen.line["train_loss"]))
        return seen.line["epoch"] == self.epoch


def test_every_step_and_epoch_is_told():
    seen, network = Seen(), spiking()
    result = fit(network, batches(), callbacks=[seen], epochs=3, **QUIET)
    assert [step[:2] for step in seen.steps] == [(1 + i // 4, 1 + i) for i in range(12)]
    losses = [loss for _, _, loss in seen.steps]
    for epoch, line in enumerate(result.history):
        assert sum(losses[4 * epoch : 4 * epoch + 4]) / 4 == pytest.approx(line["train_loss"])
    assert [line[0] for line in seen.lines] == [1, 2, 3]
    assert result.summary["ended_by"] is None


@pytest.mark.parametrize(("at", "steps"), [({"step": 6}, 6), ({"epoch": 2}, 8), ({"step": 8}, 8)])
def test_true_ends_the_run(at, steps, tmp_path):
    """The epoch is measured and is the last; the result says why there are no more."""
    seen, run = Seen(**at), tmp_path / "run"
    options = {"val_loader": batches(2), "test_loader": batches(2), "out": run}
    result = fit(spiking(), batches(), callbacks=[seen], epochs=5, **options, **QUIET)
    assert len(seen.steps) == steps
    assert [line["epoch"] for line in result.history] == [1, 2]
    assert result.history[-1]["step"] == steps
    held = json.loads((run / "result.json").read_text())
    assert held["ended_by"] == "callback"
    assert held["epochs"] == 2
    assert held["test_accuracy"] is not None


class Clamp:
    """Changes the network after each step."""

    def on_step(self, seen):
        with torch.no_grad():
            seen.network[0].weight.clamp_(-0.01, 0.01)


def test_a_callback_may_change_the_network():
    network = spiking()
    fit(network, batches(), callbacks=[Clamp()], epochs=1, **QUIET)
    assert network[0].weight.abs().max() <= 0.01


class Patience:
    """Ends the run after some steps that it has counted, and remembers the count."""

    def __init__(self, most: int, crash: int = 10**9) -> None:
        self.most, self.crash, self.count = most, crash, 0

    def on_step(self, seen):
        self.count += 1
        if self.count == self.crash:
            raise ZeroDivisionError
        return self.count == self.most

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


@pytest.mark.parametrize("crash", [2, 5, 6, 7])
def test_what_a_callback_remembers_comes_back(crash, tmp_path, outcome):
    """Broken off at any step, a run that a callback ends is the run that was not."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = {"epochs": 4, "checkpoint_seconds": 1e-6, "val_loader": batches(2), **QUIET}
    fit(spiking(), batches(), callbacks=[Patience(7)], out=whole, **options)
    with pytest.raises(ZeroDivisionError):
        fit(spiking(), batches(), callbacks=[Patience(7, crash)], out=broken, **options)
    fit(spiking(), batches(), callbacks=[Patience(7)], out=broken, resume=True, **options)
    assert outcome(broken) == outcome(whole)
    assert json.loads((whole / "result.json").read_text())["epochs"] == 2


class Remembers:
    def on_step(self, seen):
        pass

    def state_dict(self):
        return {"me": self}


@pytest.mark.parametrize(
    ("callbacks", "error", "words"),
    [
        ([print], TypeError, "expected callbacks as objects with on_step or on_epoch, got builtin"),
        ([Seen], TypeError, "got the class Seen; pass an object of it: Seen()"),
        (
            5,
            TypeError,
            "expected callbacks as objects with on_step or on_epoch, got 5; give a list",
        ),
        ([Remembers()], TypeError, "expected Remembers.state_dict() to return plain data"),
    ],
)
def test_what_is_no_callback_is_said(callbacks, error, words, tmp_path):
    with pytest.raises(error) as caught:
        fit(spiking(), batches(), callbacks=callbacks, out=tmp_path / "run", epochs=1, **QUIET)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


class Answers:
    def on_epoch(self, seen):
        return "stop"


def test_an_answer_that_means_nothing_is_refused():
    with pytest.raises(TypeError, match=r"expected Answers.on_epoch to return True to stop, or No"):
        fit(spiking(), batches(), callbacks=[Answers()], epochs=1, **QUIET)


def test_early_stopping_waits_for_a_better_validation(tmp_path):
    """A learning rate of nearly nothing: the first epoch stays the best."""
    options = {"learning_rate": 1e-30, "epochs": 9, "val_loader": batches(2)}
    run = tmp_path / "run"
    result = fit(spiking(), batches(), early_stopping=3, out=run, **options, **QUIET)
    assert len(result.history) == 4
    assert result.best_epoch == 1
    assert result.summary["ended_by"] == "early_stopping"
    assert len(fit(spiking(), batches(), **options, **QUIET).history) == 9
    with pytest.raises(UserError, match="expected a val_loader for early_stopping, got none"):
        fit(spiking(), batches(), early_stopping=3, epochs=2, **QUIET)
    more = {**options, "epochs": 20, "early_stopping": 3, "out": run, "resume": True}
    with pytest.raises(UserError, match="got one that early_stopping ended after epoch 4"):
        fit(spiking(), batches(), **more, **QUIET)
