"""Everything a config can describe is built, trains, and comes back from its run folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from spikegrad.errors import UserError
from spikegrad.nn import LIF
from spikegrad.surrogate import get, names
from spikegrad.train import fit, resolve
from spikegrad.train.app import evaluate_run, open_run, predict_run, train_run
from spikegrad.train.build import Inputs, build_network, build_parts
from spikegrad.train.config import OPTIONS

NETWORKS = [
    *({"model": model} for model in ("mlp", "recurrent", "article")),
    {"model": "conv", "channels": [4]},
    {"model": "conv", "channels": [4, 6], "blocks": [1, 2]},
    {"model": "sew_resnet", "channels": [4, 6]},
    {"model": "sew_resnet", "channels": [4], "blocks": [2], "neuron": "if"},
    *({"readout": readout} for readout in ("spikes", "li")),
    *({"neuron": neuron} for neuron in OPTIONS["neuron"].choices),
    {"neuron": "cuba", "learn": ["tau_mem", "tau_syn", "threshold", "slope"]},
    {"neuron": "alif", "learn": ["tau_adapt", "kappa"]},
    {"model": "article", "readout": "rate"},
    {"model": "article", "readout": "li"},
    {"init": "kaiming", "init_gain": 2.0},
    {"init": "torch"},
    {"init": "fluctuation"},
    {"reset": "zero", "detach_reset": False, "refractory": 2.0, "v_reset": -0.5},
    {"reset": "zero", "learn": ["v_reset"], "surrogate": "straight_through"},
    {"encoder": "latency"},
    {"calibrate": 0.1, "batch_norm": False},
    {"normalise": "standard", "encoder": "direct", "rate_lower": 0.1, "rate_weight": 1.0},
    {"surrogate": "superspike", "slope": 10.0, "surrogate_normalisation": "peak"},
    {"slope_schedule": "geometric", "slope_end": 5.0},
    {"precision": "16-mixed", "clip": 1.0},
    {"precision": "bf16-mixed"},
    {"precision": "64", "track_test": True},
    {"backend": "reference", "tau_mem": 5.0},
]


@pytest.mark.parametrize("changes", NETWORKS, ids=json.dumps)
def test_it_trains_and_comes_back(options, tmp_path, changes):
    run = tmp_path / "run"
    wanted = {**options, "epochs": 1, "ema": 0.0, **changes}
    if wanted.get("model") in ("article", "sew_resnet"):
        wanted = {k: v for k, v in wanted.items() if k not in ("batch_norm", "dropout")}
    if wanted.get("model") == "sew_resnet":
        del wanted["hidden"]
    config = resolve(wanted)
    result = train_run(config, run, progress=False)
    assert np.isfinite(result.history[0]["train_loss"])
    assert result.firing_rates
    assert evaluate_run(run).accuracy == result.test_accuracy
    trained = open_run(run)
    assert trained.config == config
    assert not trained.network.training


@pytest.mark.parametrize("encoder", ["direct", "delta"])
@pytest.mark.parametrize("model", ["mlp", "recurrent"])
def test_sequences(tmp_path, model, encoder):
    generator = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = generator.random((60, 9, 5)) < 0.1 + 0.3 * y[:, None, None]
    np.savez(tmp_path / "seq.npz", x=x.astype(np.float32), y=y, sequence=True)
    options = {"data": str(tmp_path / "seq.npz"), "model": model, "encoder": encoder}
    options |= {"hidden": [16], "epochs": 2, "truncate": 4, "threads": 1, "preflight": "off"}
    result = train_run(resolve(options), tmp_path / "run", progress=False)
    assert result.test_accuracy is None, "there is no test part"
    found, inputs = predict_run(tmp_path / "run", torch.from_numpy(x[:4]))
    assert found.labels.shape == (4,)
    with pytest.raises(UserError, match="expected static samples for steps, got sequences"):
        train_run(resolve({**options, "steps": 20}), tmp_path / "other", progress=False)
    assert inputs.sequence
    with np.load(tmp_path / "run" / "samples.npz") as held:
        assert held["input"].shape == (9, 6, 10 if encoder == "delta" else 5)


def test_initial_weights_follow_from_the_seed(options):
    parts = build_parts(resolve(options))

    def weights(seed: int):
        return build_network(resolve({**options, "seed": seed}), parts.inputs)[1].weight

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_what_a_neuron_is_told(options):
    wanted = {"beta": 0.5, "threshold": 2.0, "refractory": 3.0, "reset": "zero", "slope": 7.0}
    wanted["v_reset"] = 0.25
    config = resolve({**options, **wanted, "surrogate": "sigmoid"})
    network = build_network(config, build_parts(config).inputs)
    neuron = next(m for m in network.modules() if isinstance(m, LIF))
    assert neuron.decay_mem().item() == 0.5
    assert neuron.threshold().item() == 2.0
    assert neuron.v_reset().item() == 0.25
    assert neuron.refractory == 3
    assert neuron.reset == "zero"
    assert (neuron.surrogate.name, neuron.surrogate.slope) == ("sigmoid", 7.0)


@pytest.mark.parametrize("recipe", ["digits", "mnist"])
@pytest.mark.parametrize("name", names(aliases=True))
def test_every_surrogate_goes_with_a_recipe(recipe, name):
    """Some have no slope, some one normalisation: what the recipe says of its own is not theirs."""
    config = resolve({"surrogate": name, "hidden": [4]}, config=recipe)
    inputs = Inputs((2, 2), 3, ("a", "b", "c"), False, 1.0, (0.0, 1.0), None)
    neuron = next(m for m in build_network(config, inputs).modules() if isinstance(m, LIF))
    assert neuron.surrogate == get(name)


def test_validation_by_count_says_counts(options):
    with pytest.raises(UserError, match=r"no sample of class .* at 1 of 200 samples"):
        build_parts(resolve({**options, "validation": 1}))
    with pytest.raises(UserError, match=r"a share below 1 or a whole number of samples, got 2.5"):
        build_parts(resolve({**options, "validation": 2.5}))


def test_validation_is_held_out(options):
    parts = build_parts(resolve({**options, "validation": 50}))
    assert parts.validation is not None
    assert len(parts.validation.split) == 50
    assert len(parts.train.split) == 150
    assert build_parts(resolve({**options, "validation": 0})).validation is None


def test_samples_of_another_shape_are_refused(options, tmp_path):
    train_run(resolve({**options, "epochs": 1}), tmp_path / "run", progress=False)
    with pytest.raises(UserError, match=r"expected samples \[N, 8, 8\], got \[2, 7, 8\]"):
        predict_run(tmp_path / "run", torch.zeros(2, 7, 8))


def test_a_run_of_ones_own_network_cannot_be_rebuilt(tmp_path):
    from spikegrad.nn import Linear, Sequential

    batch = (torch.rand(8, 4), torch.arange(8) % 2)
    network = Sequential(Linear(4, 8), LIF(10.0), Linear(8, 2))
    fit(network, [batch], epochs=1, out=tmp_path / "run", progress=False, preflight="off")
    with pytest.raises(UserError, match=r"a run of fit\(\) with a network of your own"):
        open_run(tmp_path / "run")


def test_an_unfinished_run_says_how_to_finish_it(options, tmp_path):
    train_run(resolve({**options, "epochs": 1}), tmp_path / "run", progress=False)
    (tmp_path / "run" / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"got none; spikegrad train --resume .* finishes it"):
        open_run(tmp_path / "run")
    (tmp_path / "run" / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="expected complete weights in"):
        open_run(tmp_path / "run")
