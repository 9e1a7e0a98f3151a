"""What a run minimises: the objectives that have a name, and those of a user's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from spikegrad import functional
from spikegrad.errors import UserError
from spikegrad.nn import LI, LIF, Linear, Sequential
from spikegrad.report import write_pictures
from spikegrad.train import Objective, evaluate, fit, predict
from spikegrad.train.config import gather
from spikegrad.train.objective import objective_of
from spikegrad.train.own_objective import OwnObjective
from spikegrad.train.toml import read_file

QUIET = {"progress": False, "preflight": "off", "tensorboard": False}


def batches(count: int = 6) -> list[tuple[torch.Tensor, torch.Tensor]]:
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


def spiking() -> Sequential:
    """A network whose outputs are spikes."""
    torch.manual_seed(0)
    return Sequential(Linear(6, 16), LIF(10.0), Linear(16, 3), LIF(10.0))


def test_fit_is_the_loop_of_four_lines():
    """SpikingJelly's first example, squared error of rates, reached 0.737 by `fit`, 0.803 so."""
    data, steps = batches(), 8
    loop, network = spiking(), spiking()
    optimizer = torch.optim.Adam(loop.parameters(), lr=1e-2)
    for _ in range(3):
        for x, y in data:
            optimizer.zero_grad()
            rates = loop(x.expand(steps, *x.shape))[0].mean(0)
            mse_loss(rates, one_hot(y, 3).float()).backward()
            optimizer.step()
    fit(network, data, objective="rate_mse", epochs=3, learning_rate=1e-2, steps=steps, **QUIET)
    for one, other in zip(loop.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["rate_mse", "count_mse"])
def test_target_rates_come_from_the_config(name):
    y, labels = torch.rand(5, 4, 3).round(), torch.tensor([0, 2, 1, 1])
    wanted = {"objective": name, "target_correct": 0.5, "target_incorrect": 0.25}
    loss = functional.rate_mse if name == "rate_mse" else functional.count_mse
    expected = loss(y, labels, correct=0.5, incorrect=0.25)
    assert objective_of(gather(wanted))(y, labels) == expected
    assert Objective(name)(y, labels) == loss(y, labels)


def test_weight_and_target_of_tet_come_from_the_config():
    y, labels = torch.rand(5, 4, 3), torch.tensor([0, 2, 1, 1])
    wanted = {"objective": "tet", "tet_weight": 0.5, "tet_target": 2.0}
    expected = functional.tet(y, labels, weight=0.5, target=2.0)
    assert objective_of(gather(wanted))(y, labels) == expected


def readout() -> Sequential:
    """A network whose outputs are membranes."""
    torch.manual_seed(0)
    return Sequential(Linear(6, 16), LIF(10.0), Linear(16, 3), LI(10.0))


def per_step(y, labels):
    """A loss on the whole output [T, B, C]."""
    return cross_entropy(y.flatten(0, 1), labels.repeat(len(y)))


class Smooth(nn.Module):
    """A loss module of a user's own, on the whole output."""

    def forward(self, y, labels):
        return cross_entropy(y.mean(0), labels, label_smoothing=0.1)


LOSSES = {
    "a module of torch": (nn.CrossEntropyLoss(), Objective("membrane_mean")),
    "a function of torch": (cross_entropy, Objective("membrane_mean")),
    "a function": (per_step, Objective("tet", tet_weight=0.0)),
    "a module": (Smooth(), Objective("membrane_mean", label_smoothing=0.1)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_ones_own_trains_as_the_same_loss_by_name(name):
    """It was called 0 times, and membrane_mean trained instead."""
    own, named = LOSSES[name]
    one, other = readout(), readout()
    options = {"epochs": 2, "learning_rate": 1e-2, "steps": 5, **QUIET}
    given = fit(one, batches(), test_loader=batches(2), objective=own, **options)
    wanted = fit(other, batches(), test_loader=batches(2), objective=named, **options)
    torch.testing.assert_close(one.state_dict(), other.state_dict())
    assert given.test_accuracy == wanted.test_accuracy
    assert torch.equal(given.confusion, wanted.confusion)
    for how in (
        {"objective": own, "steps": 5},
        {"objective": given.objective, "encoder": given.encoder},
    ):
        found = evaluate(one, batches(2), **how)
        assert found.loss == pytest.approx(given.test_loss)
        assert found.accuracy == given.test_accuracy
        labels, _ = predict(one, batches(1)[0][0], **how)
        assert labels.shape == (20,)


@pytest.mark.parametrize("over", ["max", "last", lambda y: y.amax(0)])
def test_scores_say_what_is_read(over):
    y = torch.randn(4, 6, 3)
    network = readout()
    options = {"objective": nn.CrossEntropyLoss(), "scores": over, "steps": 5}
    _, scores = predict(network, batches(1)[0][0], **options)
    y = network(batches(1)[0][0].expand(5, 20, 6))[0]
    torch.testing.assert_close(scores, y[-1] if over == "last" else y.amax(0))
    result = fit(network, batches(), epochs=1, **options, **QUIET)
    assert result.history[0]["train_accuracy"] > 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            nn.CrossEntropyLoss,
            "got the class CrossEntropyLoss; pass an object of it: CrossEntropyLoss()",
        ),
        (5, "expected objective as a name, an Objective or a function loss(y, labels), got 5"),
        (object(), "expected objective as a name, an Objective or a function"),
    ],
)
def test_what_is_no_objective_is_said(wrong, words, tmp_path):
    for call in (
        lambda: fit(readout(), batches(), objective=wrong, out=tmp_path / "run", **QUIET),
        lambda: evaluate(readout(), batches(), objective=wrong),
        lambda: predict(readout(), batches()[0][0], objective=wrong),
    ):
        with pytest.raises(TypeError) as caught:
            call()
        assert words in str(caught.value)
    assert not (tmp_path / "run").exists()


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, y, labels):
        return self.scale * per_step(y, labels)


def not_reduced(y, labels):
    return cross_entropy(y.mean(0), labels, reduction="none")


def swapped(y, labels):
    return cross_entropy(y, labels)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"objective": Learned()},
            UserError,
            "expected an objective without parameters of its own",
        ),
        ({"objective": not_reduced}, TypeError, "got a tensor [20]; take the mean over the batch"),
        (
            {"objective": lambda y, labels: 1.0},
            TypeError,
            "as a tensor without dimensions, got float",
        ),
        ({"objective": swapped}, UserError, "reduce it over time, y.mean(0), in your loss"),
        (
            {"objective": lambda y: y.mean()},
            UserError,
            "expected the objective to take y [10, 20, 3]",
        ),
        (
            {"objective": per_step, "scores": "median"},
            UserError,
            "unknown scores 'median'; did you",
        ),
        ({"objective": "tet", "scores": "max"}, UserError, "scores= only with a loss of your own"),
        (
            {"objective": per_step, "scores": lambda y: y[0, 0]},
            UserError,
            "expected scores= to give",
        ),
        (
            {"objective": per_step, "temperature": 2.0},
            UserError,
            "your own, reads, got temperature",
        ),
        ({"objective": Objective("tet"), "tet_weight": 0.2}, UserError, "in the Objective alone"),
    ],
)
def test_an_objective_that_cannot_work_is_said_before_anything_is_written(
    options, error, words, tmp_path
):
    with pytest.raises(error) as caught:
        fit(readout(), batches(), out=tmp_path / "run", epochs=1, **options, **QUIET)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_labels_from_one_are_named_with_torchs_loss_too():
    data = [(x, y + 1) for x, y in batches()]
    for objective in (nn.CrossEntropyLoss(), "membrane_mean"):
        with pytest.raises(UserError, match="labels are counted from 0: if yours go from 1 to 3"):
            fit(readout(), data, objective=objective, epochs=1, **QUIET)


def test_a_sample_without_a_class_is_in_no_accuracy():
    """torch's `ignore_index`: such a label is no class, and no wrong one."""
    x, y = batches(1)[0]
    y = y.clone()
    y[:5] = -100
    network = readout()
    found = evaluate(network, [(x, y)], objective=nn.CrossEntropyLoss(), steps=5)
    rest = evaluate(network, [(x[5:], y[5:])], objective=nn.CrossEntropyLoss(), steps=5)
    assert found.confusion.sum() == 15
    assert found.accuracy == rest.accuracy
    assert found.loss == pytest.approx(rest.loss)


def numbers(count: int = 6) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Two numbers to be told from six."""
    return [(x, torch.stack([x[:, :3].sum(1), x[:, 3:].mean(1)], 1)) for x, _ in batches(count)]


def regressor() -> Sequential:
    torch.manual_seed(0)
    return Sequential(Linear(6, 32), LIF(10.0), Linear(32, 2), LI(10.0))


def mean_error(scores, labels):
    return (scores - labels).abs().mean()


@pytest.mark.parametrize("objective", [nn.MSELoss(), lambda y, t: ((y.mean(0) - t) ** 2).mean()])
def test_regression_has_no_accuracy_anywhere(objective, tmp_path, capsys):
    """Float targets were refused; what has no meaning for them is left out, not faked."""
    run, network = tmp_path / "run", regressor()
    options = {"epochs": 30, "learning_rate": 1e-2, "steps": 5, "preflight": "warn"}
    result = fit(
        network,
        numbers(),
        val_loader=numbers(2),
        test_loader=numbers(2),
        objective=objective,
        metrics={"mae": mean_error},
        out=run,
        tensorboard=False,
        **options,
    )
    assert result.val_loss < 0.1 * result.history[0]["train_loss"]
    assert result.val_loss == min(line["val_loss"] for line in result.history)
    x, y = numbers(2)[0]
    labels, scores = predict(network, x, objective=result.objective, encoder=result.encoder)
    found = evaluate(
        network,
        numbers(2),
        objective=result.objective,
        encoder=result.encoder,
        metrics={"mae": mean_error},
    )
    assert found.accuracy is None
    assert found.confusion is None
    assert found.metrics["mae"] == pytest.approx(result.summary["test_mae"])
    assert (scores - y).abs().mean() < 0.2
    assert labels is None
    assert result.confusion is None
    assert result.test_accuracy is None
    shown = capsys.readouterr().out
    for text in ((run / "metrics.jsonl").read_text(), (run / "result.json").read_text(), shown):
        assert "accuracy" not in text
        assert "loss" in text
    assert "validation 0." in shown
    with np.load(run / "samples.npz") as held:
        assert not {"labels", "predictions", "confusion", "class_names"} & set(held.files)
    assert {p.stem for p in write_pictures(run)} == {"learning", "raster", "membrane", "surrogate"}
    assert "test_loss" in repr(result)


def test_targets_that_torch_would_repeat_are_refused():
    """[20] beside [20, 2] and [20, 1]: torch computes something else, with a warning."""
    for outputs in (1, 2):
        torch.manual_seed(0)
        network = Sequential(Linear(6, 8), LIF(10.0), Linear(8, outputs))
        data = [(x, y[:, 0]) for x, y in numbers()]
        with pytest.raises(
            UserError, match=rf"it reads scores \[20, {outputs}\] and labels \[20\]"
        ):
            fit(network, data, objective=nn.MSELoss(), epochs=1, **QUIET)


@pytest.mark.parametrize("loader", [lambda x: x, lambda x: (x,), lambda x: [x]])
def test_a_loss_without_labels(loader):
    """Batches of x alone: the loss sees the output alone."""
    data = [loader(x) for x, _ in batches()]

    def quiet(y):
        return (y**2).mean()

    network = readout()
    result = fit(network, data, val_loader=data[:2], objective=quiet, epochs=3, steps=5, **QUIET)
    losses = [line["train_loss"] for line in result.history]
    assert losses[-1] < losses[0]
    assert evaluate(network, data[:2], objective=quiet, steps=5).accuracy is None
    with pytest.raises(UserError, match=r"expected batches \(x, y\) for objective membrane_mean"):
        fit(readout(), data, epochs=1, **QUIET)


def test_class_weights_go_where_the_network_is():
    """The loss module is copied: the user's own keeps its number format."""
    weights = torch.tensor([1.0, 2.0, 3.0])
    loss = nn.CrossEntropyLoss(weight=weights)
    network = readout()
    fit(network, batches(), objective=loss, epochs=1, precision="64", **QUIET)
    assert network[0].weight.dtype == torch.float64
    assert loss.weight.dtype == torch.float32


def test_a_penalty_on_rates_goes_with_a_loss_of_ones_own():
    rates = []
    for weight in (0.0, 100.0):
        options = {"rate_weight": weight, "rate_upper": 0.01} if weight else {}
        network = readout()
        fit(
            network, batches(), objective=per_step, epochs=4, learning_rate=1e-2, **options, **QUIET
        )
        rates.append(evaluate(network, batches(2)).firing_rates["1"])
    assert rates[1] < 0.5 * rates[0]


def test_a_penalty_of_an_objective_that_was_made_before_is_kept(tmp_path):
    objective = OwnObjective(per_step, rate_weight=2.0, rate_upper=0.3)
    result = fit(readout(), batches(), objective=objective, epochs=1, out=tmp_path / "run", **QUIET)
    assert result.objective == objective
    assert read_file(tmp_path / "run" / "config.toml")["rate_weight"] == 2.0
    with pytest.raises(UserError, match="expected rate_weight in the OwnObjective alone"):
        fit(readout(), batches(), objective=objective, rate_weight=1.0, epochs=1, **QUIET)


def count(scores, labels):
    return len(labels)


def test_metrics_see_all_samples_once(tmp_path):
    """Not a mean over batches, which a share of the right ones would be, and a count is not."""
    run = tmp_path / "run"
    metrics = {"count": count, "odd": lambda scores, labels: float("nan")}
    data = [*batches(2), (batches(1)[0][0][:7], batches(1)[0][1][:7])]
    options = {"val_loader": data, "test_loader": data, "metrics": metrics, "out": run}
    result = fit(readout(), batches(), epochs=2, track_test=True, **options, **QUIET)
    for line in result.history:
        assert line["val_count"] == line["test_count"] == 47
        assert line["val_odd"] is None
    held = json.loads((run / "result.json").read_text())
    assert held["test_count"] == held["val_count"] == 47


@pytest.mark.parametrize(
    ("metrics", "error", "words"),
    [
        ({"loss": count}, UserError, "expected another name for a metric, got loss"),
        ([count], TypeError, "expected metrics as {name: function(scores, labels)}, got list"),
        ({"mine": 5}, TypeError, "got 'mine': int"),
        ({"mine": dict}, TypeError, "got mine: the class dict"),
        ({"mine": lambda scores, labels: scores}, TypeError, "metric mine to return a number, got"),
    ],
)
def test_what_is_no_metric_is_said(metrics, error, words):
    with pytest.raises(error) as caught:
        evaluate(readout(), batches(1), metrics=metrics)
    assert words in str(caught.value)
    with pytest.raises(error):
        fit(readout(), batches(1), val_loader=batches(1), metrics=metrics, epochs=1, **QUIET)
