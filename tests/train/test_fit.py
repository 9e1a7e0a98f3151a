"""`fit` on networks and loaders of a user's own."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from spikegrad.errors import RunError, UserError
from spikegrad.nn import LIF, Dropout, Linear, Sequential
from spikegrad.train import evaluate, fit, predict
from spikegrad.train.batches import peek
from spikegrad.train.objective import OBJECTIVES

QUIET = {"progress": False, "preflight": "off", "tensorboard": False}


def clusters(n: int = 120) -> TensorDataset:
    """Three classes, each bright in two of six values."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    x = 0.2 * torch.rand(n, 6, generator=generator)
    x[torch.arange(n), 2 * y] += 1.0
    x[torch.arange(n), 2 * y + 1] += 1.0
    return TensorDataset(x, y)


def spiking() -> Sequential:
    torch.manual_seed(0)
    return Sequential(Linear(6, 32), LIF(10.0), Dropout(0.1), Linear(32, 3))


class Plain(nn.Module):
    """No state, no neuron of ours: outputs alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("make", [spiking, Plain])
@pytest.mark.parametrize("shuffled", [True, False])
def test_it_learns(make, shuffled):
    network, data = make(), clusters()
    loader = DataLoader(data, 20, shuffle=shuffled)
    options = {"epochs": 8, "learning_rate": 1e-2, "steps": 5, "truncate": 2}
    result = fit(network, loader, val_loader=loader, test_loader=loader, **QUIET, **options)
    assert result.test_accuracy > 0.95
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    measured = evaluate(network, DataLoader(data, 50), steps=5)
    assert measured.accuracy == result.test_accuracy
    assert measured.confusion.sum() == 120
    labels, scores = predict(network, data.tensors[0], steps=5)
    assert (labels == data.tensors[1]).float().mean().item() == pytest.approx(measured.accuracy)
    assert scores.shape == (120, 3)
    assert list(measured.firing_rates) == (["1"] if make is spiking else [])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_goes_down(name):
    network = spiking()
    if name == "first_spike":  # which reads spikes alone
        network.append(LIF(10.0))
    options = {"objective": name, "epochs": 6, "learning_rate": 5e-3, **QUIET}
    result = fit(network, DataLoader(clusters(), 30), **options)
    losses = [line["train_loss"] for line in result.history]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", torch.optim.RMSprop, "own"])
@pytest.mark.parametrize("schedule", ["constant", "onecycle"])
def test_every_optimizer_updates(optimizer, schedule):
    network = spiking()
    before = network[0].weight.detach().clone()
    if optimizer == "own":
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    options = {"schedule": schedule, "warmup": 0.2}
    if not isinstance(optimizer, torch.optim.Optimizer):
        options["weight_decay"] = 0.01
    fit(network, DataLoader(clusters(), 30), epochs=1, optimizer=optimizer, **options, **QUIET)
    assert not torch.equal(before, network[0].weight)


@pytest.mark.parametrize("precision", ["64", "bf16-mixed"])
def test_every_precision_runs_truncated(precision):
    network = spiking()
    options = {"epochs": 2, "steps": 6, "truncate": 3, "precision": precision}
    result = fit(network, DataLoader(clusters(), 30), **options, **QUIET)
    assert result.history[-1]["train_loss"] < 2.0
    wanted = torch.float64 if precision == "64" else torch.float32
    assert network[0].weight.dtype == wanted


def test_a_sharper_slope_from_epoch_to_epoch():
    network = spiking()
    options = {"epochs": 3, "slope_schedule": "linear", "slope_end": 8.0}
    result = fit(network, DataLoader(clusters(), 30), **options, **QUIET)
    assert [line["slope"] for line in result.history] == [2.0, 5.0, 8.0]


def test_a_run_folder_of_ones_own(tmp_path):
    """With a loader that shuffles: broken off in an epoch, it goes on with the same batches."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = {"epochs": 3, "checkpoint_seconds": 1e-6, **QUIET}

    def loader():
        return DataLoader(clusters(), 20, shuffle=True, generator=torch.Generator())

    fit(spiking(), loader(), val_loader=loader(), out=whole, **options)
    stop = StopAfter(spiking(), steps=10)
    with pytest.raises(Stop):
        fit(stop, loader(), val_loader=loader(), out=broken, **options)
    assert not (broken / "result.json").exists()
    second = StopAfter(spiking(), steps=10**9)
    fit(second, loader(), val_loader=loader(), out=broken, resume=True, **options)
    one, other = load_file(whole / "weights.safetensors"), load_file(broken / "weights.safetensors")
    for name, value in one.items():
        assert torch.equal(value, other[f"inner.{name}"]), name


class Stop(Exception):
    pass


class StopAfter(nn.Module):
    """Breaks off in the middle of an epoch, as a power cut would."""

    def __init__(self, inner: nn.Module, steps: int) -> None:
        super().__init__()
        self.inner, self.left = inner, steps

    def forward(self, x, states=None):
        self.left -= self.training
        if self.left < 0:
            raise Stop
        return self.inner(x, states)


def test_the_callers_random_state_is_left_alone():
    network, loader = spiking(), DataLoader(clusters(), 30, shuffle=True)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit(network, loader, epochs=1, **QUIET)
    assert torch.equal(torch.rand(1), expected)


def test_a_dead_loss_is_a_failed_run_and_keeps_the_checkpoint(tmp_path):
    class Failing(StopAfter):
        def forward(self, x, states=None):
            y, states = self.inner(x, states)
            self.left -= self.training
            return (y * float("nan") if self.left < 0 else y), states

    run = tmp_path / "run"
    with pytest.raises(RunError, match=r"epoch 2, step 8: .*checkpoint in .* is unchanged"):
        fit(Failing(spiking(), steps=7), DataLoader(clusters(), 20), out=run, epochs=3, **QUIET)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1
    assert not (run / "result.json").exists()


def test_what_a_run_folder_says(tmp_path):
    run = tmp_path / "run"
    loader = DataLoader(clusters(), 20)
    options = {"epochs": 2, "track_test": True, **QUIET}
    result = fit(spiking(), loader, val_loader=loader, test_loader=loader, out=run, **options)
    held = json.loads((run / "result.json").read_text())
    assert held == result.summary
    wanted = "dataset test_accuracy val_accuracy best_test_accuracy best_epoch epochs train_seconds"
    for key in [
        *wanted.split(),
        "seconds_per_epoch",
        "parameters",
        "firing_rates",
        "seed",
        "versions",
    ]:
        assert key in held
    assert held["parameters"] == 6 * 32 + 32 + 32 * 3 + 3
    assert held["best_test_accuracy"] == max(x["test_accuracy"] for x in result.history)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"objective": "membrane"}, "unknown objective"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm'; did you mean 'adam'"),
        ({"encoder": "delta"}, "expected encoder direct or poisson or latency for static samples"),
        ({"resume": True}, "expected out= to resume a run"),
        ({"device": "cuda"}, "expected a cuda device"),
    ],
)
def test_wrong_settings(options, words):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError) as caught:
        fit(spiking(), DataLoader(clusters(), 20), **{**QUIET, "epochs": 1, **options})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        ([], "expected a batch in epoch 1"),
        ([torch.ones(2, 6)], "expected batches"),
        ([(torch.ones(2, 6), torch.ones(2))], "expected integer labels"),
        ([(torch.ones(2, 6), torch.ones(3, dtype=torch.int64))], "expected x"),
        ([(torch.full((2, 6), float("nan")), torch.ones(2, dtype=torch.int64))], "finite"),
        ([(torch.ones(2, 6), torch.tensor([0, 7]))], "expected labels in 0..2"),
    ],
)
def test_wrong_loaders(loader, words, tmp_path):
    with pytest.raises(UserError) as caught:
        fit(spiking(), loader, epochs=1, **QUIET)
    assert words in str(caught.value)


X, Y = torch.ones(4, 6), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("loaders", "words"),
    [
        ({"loader": [(X, Y + 5)]}, "expected labels in 0..2, got 5 to 7"),
        (
            {"loader": [(X[:0], Y[:0])]},
            "expected at least 1 sample per batch, got 0; do not pass empty",
        ),
        ({"loader": []}, "expected a batch in epoch 1"),
        ({"val_loader": [(X, Y + 5)]}, "val_loader: expected labels in 0..2, got 5 to 7"),
        ({"val_loader": [(X, Y - 1)]}, "val_loader: expected labels in 0..2, got -1 to 1"),
        ({"val_loader": []}, "val_loader: expected a batch"),
        ({"val_loader": ((X, Y) for _ in range(1))}, "val_loader: expected a loader, got a gen"),
        ({"test_loader": [(X, Y + 5)]}, "test_loader: expected labels in 0..2, got 5 to 7"),
        ({"test_loader": [(X * float("nan"), Y)]}, "test_loader: expected"),
        ({"test_loader": [(X[:, :5], Y)]}, ""),
        ({"optimizer": lambda groups: 1 / 0}, "division"),
    ],
)
@pytest.mark.parametrize("preflight", ["off", "warn"])
def test_nothing_is_written_before_it_is_checked(loaders, words, preflight, tmp_path):
    """A folder left behind made the next try meet "expected an empty or new run folder"."""
    wanted = {"loader": [(X, Y)], "epochs": 1, **QUIET, "preflight": preflight, **loaders}
    network = spiking()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(Exception) as caught:  # noqa: PT011  (also what the network itself raises)
        fit(network, wanted.pop("loader"), out=tmp_path / "run", **wanted)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_a_look_takes_nothing_from_an_iterator():
    seen = []
    whole = [(X, Y), (X, Y), (X, Y)]
    once = (seen.append(0) or batch for batch in whole)
    assert fit(spiking(), once, epochs=1, **QUIET).summary["epochs"] == 1
    assert len(seen) == 3
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(clusters(), 30, shuffle=True, generator=generator)
    before = generator.get_state()
    peek(loader)
    assert torch.equal(generator.get_state(), before)


def test_what_a_result_was_read_with_reads_again():
    """`predict` took 10 steps whatever `fit` had used."""
    data = TensorDataset(clusters().tensors[0].clamp(0, 1), clusters().tensors[1])
    loader = DataLoader(data, 40)
    network = spiking()
    options = {"steps": 3, "epochs": 2, "encoder": "latency", "objective": "membrane_max"}
    result = fit(network, loader, test_loader=loader, **options, **QUIET)
    how = {"encoder": result.encoder, "objective": result.objective}
    assert evaluate(network, loader, **how).accuracy == result.test_accuracy
    labels, _ = predict(network, data.tensors[0], **how)
    assert (labels == data.tensors[1]).float().mean() == pytest.approx(result.test_accuracy)


def test_a_network_in_double_is_measured_in_double():
    network = spiking()
    fit(network, [(X, Y)], epochs=1, precision="64", **QUIET)
    assert predict(network, X).scores.shape == (4, 3)
    assert evaluate(network, [(X, Y)]).count == 4


def test_predict_takes_arrays():
    network, x = spiking(), clusters().tensors[0]
    expected = predict(network, x).scores
    for form in (x.numpy(), x.double().numpy(), x.tolist()):
        torch.testing.assert_close(predict(network, form).scores, expected)
    for wrong in ("abc", [["a"]], None):
        with pytest.raises(TypeError, match="expected samples as a tensor or an array, got"):
            predict(network, wrong)


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cpu:x", "mps:7"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(UserError, match=f"expected a .*{device.split(':')[0]}"):
        evaluate(spiking(), [(X, Y)], device=device)
    with pytest.raises(UserError, match=f"expected a .*{device.split(':')[0]}"):
        predict(spiking(), X, device=device)


def test_wrong_labels_of_a_measurement():
    with pytest.raises(UserError, match=r"expected labels in 0..2, got 5 to 7"):
        evaluate(spiking(), [(X, Y + 5)])
    assert evaluate(spiking(), [(X, Y)], device=torch.device("cpu", 0)).count == 4


def test_a_generator_lasts_one_epoch_and_says_so():
    once = iter([(torch.ones(4, 6), torch.zeros(4, dtype=torch.int64))])
    with pytest.raises(
        UserError, match="expected a batch in epoch 2, got none; pass a loader that"
    ):
        fit(spiking(), once, epochs=2, **QUIET)


def test_a_silent_network_is_refused_by_a_strict_preflight(tmp_path):
    network = spiking()
    with torch.no_grad():
        network[0].weight.mul_(1e-3)
        network[0].bias.zero_()
    wanted = {**QUIET, "preflight": "strict"}
    with pytest.raises(
        UserError, match="expected a network that can learn, got layer 1 never fires"
    ):
        fit(network, DataLoader(clusters(), 20), out=tmp_path / "run", epochs=1, **wanted)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["hidden", "calibrate", "init", "tau_mem", "batch_size", "shift"])
def test_settings_that_fit_would_ignore_are_refused(name, tmp_path):
    """They describe data and network, which are the caller's own."""
    loader = DataLoader(clusters(), 20)
    with pytest.raises(UserError, match=f"settings that fit\\(\\) reads, got {name}"):
        fit(spiking(), loader, out=tmp_path / "run", **{**QUIET, name: 1})
    assert not (tmp_path / "run").exists()


def test_no_steps_for_sequences():
    with pytest.raises(UserError, match="no steps for sequences"):
        fit(spiking(), DataLoader(clusters(), 20), sequence=True, steps=7, **QUIET)


def test_the_config_of_an_own_run_tells_nothing_of_a_network(tmp_path, capsys):
    from spikegrad.cli.main import main

    run = tmp_path / "run"
    fit(spiking(), DataLoader(clusters(), 20), out=run, epochs=1, **QUIET)
    text = (run / "config.toml").read_text()
    assert "\nhidden = " not in text
    assert "# hidden is not used: network and data are your own" in text
    assert "\nepochs = 1\n" in text
    assert main(["train", "--resume", str(run)]) == 2
    assert "a run of fit() with a network of your own" in capsys.readouterr().err


def test_sequences_that_are_not_called_so_are_named() -> None:
    network = Sequential(Linear(5, 4), LIF(10.0), Linear(4, 2))
    batch = (torch.rand(6, 9, 5), torch.arange(6) % 2)
    with pytest.raises(UserError, match="sequence=True"):
        fit(network, [batch], epochs=1, steps=3, progress=False)
