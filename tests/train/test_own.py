"""What a run of `fit` depends on besides its config is written down, and checked on resume."""

from __future__ import annotations

import functools
import json

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spikegrad.errors import UserError
from spikegrad.nn import LIF, Linear, Sequential
from spikegrad.train import Objective, evaluate, fit, predict
from spikegrad.train.identity import identity, network_identity
from spikegrad.train.toml import read_file

QUIET = {"progress": False, "preflight": "off", "tensorboard": False, "epochs": 2}


def batches(count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    x = torch.rand(count, 10, 6, generator=torch.Generator().manual_seed(0))
    return [(part, (part[:, 0] > 0.5).long()) for part in x]


def spiking(slope: float = 2.0, tau: float = 10.0) -> Sequential:
    from spikegrad.surrogate import arctan

    torch.manual_seed(0)
    return Sequential(Linear(6, 16), LIF(tau, surrogate=arctan(slope)), Linear(16, 2))


def first_loss(y, labels):
    return cross_entropy(y.mean(0), labels)


def second_loss(y, labels):
    return cross_entropy(y.sum(0), labels)


def smooth(amount):
    def loss(y, labels):
        return cross_entropy(y.mean(0), labels, label_smoothing=amount)

    return loss


def four_steps(x):
    return x.expand(4, *x.shape)


def four_halves(x):
    return 0.5 * x.expand(4, *x.shape)


def right(scores, labels):
    return (scores.argmax(1) == labels).float().mean()


def wrong(scores, labels):
    return 1 - right(scores, labels)


class Watches:
    def on_step(self, seen):
        pass


def weighted(value: float) -> nn.Module:
    return nn.CrossEntropyLoss(weight=torch.tensor([1.0, value]))


def sgd(rate: float):
    return functools.partial(torch.optim.SGD, lr=rate)


CHANGES = {
    "objective": ({"objective": Objective("tet")}, {"objective": Objective("count_mse")}),
    "its fields": (
        {"objective": Objective("tet", tet_weight=0.1)},
        {"objective": Objective("tet", tet_weight=0.2)},
    ),
    "a function": ({"objective": first_loss}, {"objective": second_loss}),
    "for a name": ({"objective": first_loss}, {"objective": "membrane_mean"}),
    "of a name": ({}, {"objective": first_loss}),
    "its closure": ({"objective": smooth(0.1)}, {"objective": smooth(0.2)}),
    "its weights": ({"objective": weighted(2.0)}, {"objective": weighted(3.0)}),
    "its settings": (
        {"objective": nn.CrossEntropyLoss()},
        {"objective": nn.CrossEntropyLoss(label_smoothing=0.1)},
    ),
    "scores": (
        {"objective": first_loss, "scores": "max"},
        {"objective": first_loss, "scores": "last"},
    ),
    "encoder": ({"encoder": four_steps}, {"encoder": four_halves}),
    "encoder's name": ({"encoder": "direct"}, {"encoder": "poisson"}),
    "optimizer": ({"optimizer": sgd(0.1)}, {"optimizer": sgd(0.2)}),
    "metrics": (
        {"metrics": {"m": right}, "val_loader": batches(1)},
        {"metrics": {"m": wrong}, "val_loader": batches(1)},
    ),
    "callbacks": ({"callbacks": [Watches()]}, {"callbacks": []}),
    "validation": ({"val_loader": batches(1)}, {}),
    "batches": ({"loader": batches(3)}, {"loader": batches(4)}),
    "surrogate": ({"network": spiking(2.0)}, {"network": spiking(3.0)}),
    "time constant": ({"network": spiking(tau=10.0)}, {"network": spiking(tau=20.0)}),
}


def train(given, **more):
    given = {"network": spiking(), "loader": batches(), **given, **more}
    return fit(given.pop("network"), given.pop("loader"), **given, **QUIET)


class Crash:
    """Breaks a run off; alone in the list of callbacks it is what the run was started with."""

    def on_epoch(self, seen):
        raise ZeroDivisionError


@pytest.mark.parametrize("name", CHANGES)
def test_another_one_is_refused_on_resume(name, tmp_path):
    """A resumed run took it, and mixed the two in one result."""
    first, other = CHANGES[name]
    run = tmp_path / "run"
    train(first, out=run)
    (run / "result.json").unlink()
    kept = (run / "checkpoint.pt").read_bytes()
    with pytest.raises(UserError, match="as the run was started with, got") as caught:
        train(other, out=run, resume=True)
    assert "start another" in str(caught.value)
    assert (run / "checkpoint.pt").read_bytes() == kept
    assert train(first, out=run, resume=True).new


def test_a_function_with_another_text_is_refused(tmp_path):
    """The same name in the same module, edited in between."""
    run, losses = tmp_path / "run", []
    for factor in (1, 2):
        path = tmp_path / "mine.py"
        path.write_text(f"def loss(y, labels):\n    return {factor} * (y.mean(0) ** 2).mean()\n")
        space = {"__name__": "mine"}
        import linecache

        linecache.checkcache(str(path))
        exec(compile(path.read_text(), str(path), "exec"), space)
        losses.append(space["loss"])
        losses[-1].digest = identity(losses[-1])["source"]
    assert losses[0].digest != losses[1].digest
    path.write_text("def loss(y, labels):\n    return 1 * (y.mean(0) ** 2).mean()\n")
    train({"objective": losses[0]}, out=run)
    path.write_text("def loss(y, labels):\n    return 2 * (y.mean(0) ** 2).mean()\n")
    with pytest.raises(
        UserError, match=r"expected objective.source = sha256.*its source has changed"
    ):
        train({"objective": losses[1]}, out=run, resume=True)


def test_what_cannot_be_known_is_said(tmp_path, capsys):
    """A text that Python cannot read; a list, which may change."""
    space = {"__name__": "mine"}
    exec("def loss(y, labels):\n    return (y.mean(0) ** 2).mean()", space)
    run, options = tmp_path / "run", {**QUIET, "progress": True}
    fit(spiking(), batches(), objective=space["loss"], out=run, **options)
    shown = " ".join(capsys.readouterr().out.split())
    assert "objective mine.loss: its source cannot be read, so only its name is compared" in shown
    held = json.loads((run / "own.json").read_text())["objective"]
    assert held["not_known"] == ["its source cannot be read, so only its name is compared"]
    calls = []

    def counting(y, labels):
        calls.append(1)
        return first_loss(y, labels)

    assert identity(counting)["not_known"] == ["calls, of the type list, is not compared"]
    fit(spiking(), batches(), objective=first_loss, out=tmp_path / "other", **options)
    assert "compared" not in capsys.readouterr().out


def test_the_config_names_what_ran(tmp_path):
    """It said membrane_mean for any objective object."""
    train({"objective": Objective("membrane_max", temperature=2.0)}, out=tmp_path / "named")
    held = read_file(tmp_path / "named" / "config.toml")
    assert (held["objective"], held["temperature"]) == ("membrane_max", 2.0)
    train({"objective": first_loss, "optimizer": sgd(0.1)}, out=tmp_path / "own")
    text = (tmp_path / "own" / "config.toml").read_text()
    for name in ("objective", "temperature", "optimizer", "learning_rate"):
        assert f"\n{name} = " not in text
    assert f"# objective is not used: the objective is {__name__}.first_loss (own.json)" in text
    assert "# optimizer is not used: the optimizer is torch.optim.sgd.SGD (own.json)" in text
    assert json.loads((tmp_path / "own" / "own.json").read_text())["objective"]["source"]


def test_more_epochs_of_ones_own_network(tmp_path):
    train({}, out=tmp_path / "run")
    network = spiking()
    options = {**QUIET, "epochs": 4}
    assert len(fit(network, batches(), out=tmp_path / "run", resume=True, **options).history) == 4
    whole = spiking()
    fit(whole, batches(), out=tmp_path / "whole", **options)
    torch.testing.assert_close(network.state_dict(), whole.state_dict(), rtol=0, atol=0)
    other = Sequential(Linear(6, 3), LIF(10.0), Linear(3, 2))
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(UserError):
        fit(other, batches(), out=tmp_path / "run", resume=True, **{**QUIET, "epochs": 9})
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_learned_values_are_no_difference():
    network = Sequential(Linear(6, 4), LIF(10.0, learn=("tau_mem",)), Linear(4, 2))
    before = network_identity(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1)
    assert network_identity(network) == before


def test_notes_and_names(tmp_path):
    """`about` wrote nothing; class names of another number were found when pictures were drawn."""
    run = tmp_path / "run"
    about = {"subject": "mouse 3", "values": [1, 2.5, None]}
    result = train({"about": about, "class_names": ["low", "high"]}, out=run)
    assert (
        json.loads((run / "result.json").read_text())["about"] == about == result.summary["about"]
    )
    with pytest.raises(TypeError, match="expected about= as values that JSON has, got Object of"):
        train({"about": {"x": torch.ones(1)}}, out=tmp_path / "other")
    with pytest.raises(UserError, match="expected 2 class_names, one for each output, got 3"):
        train({"class_names": "abc"}, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
def test_an_optimizer_has_its_own_rates(name):
    """They were dropped without a word."""
    network = spiking()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(UserError, match=f"settings that your own optimizer reads, got {name}"):
        train({"network": network, "optimizer": optimizer, name: 0.001})
    if name == "learning_rate":
        with pytest.raises(UserError, match=r"got learning_rate; make it with its own: functools"):
            train({"optimizer": torch.optim.RMSprop, name: 0.001})


class Heads(nn.Module):
    """Two outputs, as a tuple."""

    def __init__(self, states: bool = False):
        super().__init__()
        self.first, self.second = nn.Linear(6, 2), nn.Linear(6, 3)
        if states:
            self.forward = self.with_states

    def forward(self, x):
        return self.first(x), self.second(x)

    def with_states(self, x, states=None):
        return self.first(x), self.second(x)


class Three(Heads):
    def forward(self, x, states=None):
        return self.first(x), self.second(x), None


@pytest.mark.parametrize("network", [Heads(), Heads(states=True), Three()])
def test_two_heads_are_no_output_and_states(network):
    """The first was trained alone."""
    with pytest.raises(
        UserError, match=r"expected the network to return y, or \(y, states\), got a"
    ):
        train({"network": network})


def test_the_state_of_a_recurrent_layer_is_a_state():
    class Gru(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.read = nn.GRU(6, 8), nn.Linear(8, 2)

        def forward(self, x, state=None):
            y, state = self.gru(x, state)
            return self.read(y), state

    for truncate in (0, 1, 2):
        train({"network": Gru(), "truncate": truncate, "steps": 4})


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"network": None}, TypeError, "expected a network as a torch.nn.Module, got NoneType"),
        (
            {"encoder": lambda x: None},
            TypeError,
            "expected the encoder to return [T, B, *features]",
        ),
        ({"encoder": lambda x: x}, UserError, "with B=10, got [10, 6]; time comes first"),
        (
            {"optimizer": 5},
            TypeError,
            "expected an optimizer as a name, an optimizer, or a function",
        ),
        (
            {"optimizer": lambda groups: None},
            TypeError,
            "to return a torch optimizer, got NoneType",
        ),
        ({"optimizer": torch.optim.LBFGS}, UserError, "got LBFGS, which computes the loss several"),
        ({"epoch": 3}, UserError, "did you mean 'epochs'"),
        ({"objectiv": "tet"}, UserError, "did you mean 'objective'"),
        ({"lr": 0.1}, UserError, "did you mean 'learning_rate'"),
        (
            {"loader": [(torch.ones(4, 6).numpy(), torch.zeros(4).numpy())]},
            UserError,
            "got tuple of 2 (ndarray, ndarray); they are NumPy arrays: use torch.from_numpy",
        ),
        (
            {"loader": [{"x": torch.ones(4, 6)}]},
            UserError,
            "expected batches (x, y) of two tensors",
        ),
        (
            {"processes": 2, "objective": lambda y, labels: y.sum()},
            UserError,
            "at the top level of a mod",
        ),
    ],
)
def test_what_fit_cannot_take_is_one_clear_line(given, error, words, tmp_path):
    with pytest.raises(error) as caught:
        train(given, out=tmp_path / "run")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_network_to_measure():
    for call in (lambda: evaluate(None, batches()), lambda: predict(None, torch.ones(2, 6))):
        with pytest.raises(
            TypeError, match=r"expected a network as a torch\.nn\.Module, got NoneType"
        ):
            call()


def test_suggestions_are_what_fit_takes():
    """They listed the fields of the whole config, most of which fit refuses."""
    with pytest.raises(UserError) as caught:
        train({"hiden": 3})
    known = str(caught.value).split("known: ")[1]
    for name in ("hidden", "batch_size", "tau_mem", "shift", "dataset"):
        assert f"{name}," not in known
    for name in ("epochs", "val_loader", "steps"):
        assert f"{name}," in known
