"""Every field goes to TOML and back, and what is wrong is said in words."""

from __future__ import annotations

import pytest

from spikegrad.errors import UserError
from spikegrad.train.config import GROUPS, OPTIONS, Config, flatten, gather
from spikegrad.train.sources import read, recipes, resolve
from spikegrad.train.toml import from_toml, to_toml


@pytest.mark.parametrize("name", recipes())
def test_recipes_round_trip(name):
    config = resolve(config=name)
    assert gather(from_toml(to_toml(config))) == config


def test_every_value_round_trips():
    changed = {
        name: _other(option.default, option.choices, option.item)
        for name, option in OPTIONS.items()
        if name not in ("model", "readout", "slope_schedule", "encoder", "learn")
    }
    config = gather(changed)
    held = flatten(config)
    assert all(held[name] == value for name, value in changed.items())
    assert gather(from_toml(to_toml(config))) == config


def _other(default, choices, kind):
    """Another legal value than the default."""
    if choices:
        return next(c for c in choices if c != default)
    if isinstance(default, tuple):
        return (7, 5)
    if isinstance(default, bool):
        return not default
    if default is None:
        return 0.5
    return {str: "other", int: 3, float: 0.25}[kind]


def test_names_are_unique_and_explained():
    count = sum(len(kind.__dataclass_fields__) for kind in GROUPS.values())
    assert len(OPTIONS) == count
    assert all(option.help for option in OPTIONS.values())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[training]\nepoch = 3",
            "unknown option of [training] in F 'epoch'; did you mean 'epochs'",
        ),
        ("[trainig]\nepochs = 3", "unknown table in F 'trainig'; did you mean 'training'"),
        ("[data]\nepochs = 3", "expected epochs in the table [training] of F, got it in [data]"),
        ("epochs = 3", "expected epochs in the table [training] of F, got it at the top"),
        ("[training]\nepochs = 0", "F: expected epochs >= 1, got 0"),
        ("[training]\nepochs = 2.5", "F: expected epochs as a whole number, got 2.5"),
        ("[training]\nepochs = true", "F: expected epochs as a whole number, got True"),
        ("[training]\nlearning_rate = nan", "F: expected a finite learning_rate, got nan"),
        ("[network]\nneuron = 'lfi'", "F: unknown neuron 'lfi'; did you mean 'lif'"),
        ("[network]\nhidden = '12'x", "expected TOML in F"),
        ("[network]\nhidden = [8, 'x']", "F: expected hidden as a whole number, got 'x'"),
        ("[network]\nhidden = {a = 1}", "F: expected hidden as a list"),
    ],
)
def test_wrong_files(text, words):
    with pytest.raises(UserError) as caught:
        from_toml(text, where="F")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"encoder": "poisson", "normalise": "standard"}, "expected normalise none"),
        ({"readout": "rate"}, "expected readout linear, spikes or li"),
        ({"model": "article"}, "expected readout rate or li"),
        ({"rate_lower": 0.5, "rate_upper": 0.1}, "expected rate_lower <= rate_upper"),
        ({"slope_schedule": "linear"}, "expected slope_end"),
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"surrogate_normalisation": "aera"}, "did you mean 'area'"),
    ],
)
def test_wrong_values(values, words):
    with pytest.raises(UserError) as caught:
        gather(values)
    assert words in str(caught.value)


def test_command_line_over_file_over_data_set(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[data]\ndataset = "mnist"\n[training]\nepochs = 3\nbatch_size = 7\n')
    config = resolve({"batch_size": 9}, config=str(file))
    assert config.training.batch_size == 9
    assert config.training.epochs == 3
    assert config.network.steps == read("mnist")["steps"]
    assert resolve({"dataset": "digits"}, config=str(file)).data.dataset == "digits"


def test_a_time_constant_replaces_a_decay():
    assert read("digits")["beta"]
    config = resolve({"tau_mem": 20.0})
    assert config.network.tau_mem == 20.0
    assert config.network.beta is None


def test_own_data_have_no_defaults_of_a_data_set(tmp_path):
    config = resolve({"data": str(tmp_path / "mine.npz")})
    assert config.data.dataset == "mine"
    assert flatten(config) == {**flatten(Config()), "data": config.data.data, "dataset": "mine"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist-cf", "unknown recipe 'mnist-cf'; did you mean 'mnist-fc'"),
        ("no/such.toml", "No such file"),
    ],
)
def test_no_such_config(name, words):
    with pytest.raises(UserError, match=words):
        resolve(config=name)
