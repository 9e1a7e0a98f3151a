"""Every field goes to TOML and back, and what is wrong is said in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spikegrad.errors import UserError
from spikegrad.train.config import GROUPS, OPTIONS, Config, flatten, gather
from spikegrad.train.fields import SET
from spikegrad.train.sources import read, recipes, resolve
from spikegrad.train.toml import from_toml, to_toml


@pytest.mark.parametrize("name", recipes())
def test_recipes_round_trip(name):
    config = resolve(config=name)
    assert gather(from_toml(to_toml(config))) == config


@pytest.mark.parametrize("name", OPTIONS)
def test_every_value_round_trips(name):
    value = _other(OPTIONS[name])
    changed = {**_needed(name), name: value}
    config = gather(changed)
    assert flatten(config)[name] == value
    assert gather(from_toml(to_toml(config))) == config
    listed = {line.split(" = ")[0] for line in to_toml(config).splitlines() if " = " in line}
    assert name in listed


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option.needs])
def test_what_nothing_reads_is_an_error(name, tmp_path):
    """Each field that needs another one, at every level of a config."""
    option, value = OPTIONS[name], _other(OPTIONS[name])
    first = option.needs[0]
    lacking = {other: _without(OPTIONS[other], allowed) for other, allowed in first.items()}
    for other, instead in lacking.items():
        values = {**_needed(name), name: value, other: instead}
        for call in (lambda v=values: gather(v), lambda v=values: resolve(v)):
            with pytest.raises(UserError, match=rf"expected .* for |expected no data|{other}"):
                call()
        file = tmp_path / "mine.toml"
        file.write_text(_toml({**_needed(name), name: value}))
        config = resolve({other: instead}, config=str(file))
        assert flatten(config)[name] == option.default
        assert f"# {name} is not used: it needs" in to_toml(config)


def _needed(name):
    """Values of other fields with which this one is read."""
    more = {"slope_schedule": {"slope_end": 0.5}, "slope_end": {"slope_schedule": "linear"}}
    found = dict(more.get(name, {}))
    for needs in OPTIONS[name].needs[:1]:
        for other, allowed in needs.items():
            found[other] = _other(OPTIONS[other]) if allowed == SET else allowed[0]
    return {other: value for other, value in found.items() if value is not None}


def _without(option, allowed):
    """A value with which a field that needs another is not read."""
    if allowed == SET:
        return option.default
    if allowed == (None,):
        return 0.5
    if not option.choices:
        return "other"
    return next(c for c in option.choices if c not in (*allowed, "auto"))


def _other(option):
    """Another legal value than the default."""
    if option.listed:
        return option.choices[:1] or (7,)
    if option.choices:
        return next(c for c in option.choices if c != option.default)
    if option.item is bool:
        return not option.default
    if option.default is None:
        return 0.5
    return {str: "/other", int: 3, float: 0.25}[option.item]


def _toml(values):
    lines = []
    for group in GROUPS:
        lines.append(f"[{group}]")
        fields = {n: v for n, v in values.items() if OPTIONS[n].group == group}
        lines += [f"{n} = {json.dumps(v)}" for n, v in fields.items()]
    return "\n".join(lines)


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
        ("training = 3", "expected [training] as a table in F, got 3; write [training]"),
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
        ({"model": "article", "readout": "spikes"}, "expected readout rate or li"),
        ({"model": "article", "hidden": [64, 32]}, "expected one hidden layer for model article"),
        ({"model": "conv", "channels": []}, "expected at least one convolution"),
        ({"learn": ["v_reset"]}, "expected reset zero to learn v_reset"),
        ({"reset": "zero", "v_reset": 1.0}, "expected v_reset below the threshold of 1, got 1"),
        ({"tau_mem": 5.0, "beta": 0.5}, "expected no beta for tau_mem"),
        ({"kappa": 1.0}, "expected neuron alif for kappa, got neuron lif; omit kappa"),
        ({"calibrate": 1}, "expected calibrate < 1, got 1"),
        ({"seed": 99999999999}, "expected seed <= 2147483648, got 99999999999"),
        (
            {"rate_weight": 1.0, "rate_lower": 0.5, "rate_upper": 0.1},
            "expected rate_lower <= rate_upper",
        ),
        ({"slope_schedule": "linear"}, "expected slope_end"),
        ({"hidden": "12,,3"}, "between any two commas of hidden, got '12,,3'"),
        ({"target_correct": 0.9}, "expected objective count_mse or rate_mse for target_correct"),
        ({"tet_weight": 0.1}, "expected objective tet for tet_weight"),
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
        ("tests", "tests: Is a directory"),
    ],
)
def test_no_such_config(name, words, tmp_path, monkeypatch):
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        resolve(config=name)


def test_paths_are_those_of_whoever_names_them(tmp_path, monkeypatch):
    """In a file relative to the file, in options relative to the working folder."""
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "mine.toml"
    file.write_text('[data]\ndata = "../x.npz"')
    monkeypatch.chdir(tmp_path / "deep")
    assert resolve(config="mine.toml").data.data == str(tmp_path / "x.npz")
    assert resolve(config="mine.toml").data.dataset == "x"
    assert resolve({"data": "y.npz"}).data.data == str(tmp_path / "deep" / "y.npz")
    file.write_text('[data]\nfolder = "~/sets"')
    assert resolve(config="mine.toml").data.folder == str(Path("~/sets").expanduser())


@pytest.mark.parametrize("recipe", ["digits", "mnist"])
def test_a_surrogate_brings_its_own_slope_and_normalisation(recipe):
    assert read(recipe)["surrogate"] == "triangle"
    network = resolve({"surrogate": "superspike"}, config=recipe).network
    assert (network.slope, network.surrogate_normalisation) == (None, None)
    assert resolve({"surrogate": "sigmoid", "slope": 3.0}, config=recipe).network.slope == 3.0
    assert resolve({"slope": 3.0}, config=recipe).network.surrogate == "triangle"
    assert resolve({"slope": ""}, config=recipe).network.slope is None


def test_the_article_stands_alone_on_any_recipe():
    for recipe in recipes():
        options = {"model": "article"}
        if not resolve(config=recipe).network.hidden:  # convolutions, and nothing behind them
            with pytest.raises(UserError, match="expected at least one hidden layer, got none"):
                resolve(options, config=recipe)
            options = {"model": "article", "hidden": "256"}
        network = resolve(options, config=recipe).network
        assert network.readout == "auto"
        assert not network.batch_norm
    assert resolve({"model": "article", "readout": "li"}).network.readout == "li"
    with pytest.raises(UserError, match="expected model mlp or recurrent or conv or sew"):
        resolve({"model": "article", "neuron": "alif"})


def test_a_sew_resnet_stands_on_any_recipe():
    """The recipe's norms, dropout, dense layers and readout belong to other models."""
    options = {"model": "sew_resnet", "channels": [4, 8], "blocks": [2]}
    for recipe in [recipe for recipe in recipes() if recipe != "article"]:
        network = resolve(options, config=recipe).network
        assert (network.batch_norm, network.dropout, network.hidden) == (False, 0.0, (256,))
        assert network.readout in ("auto", "linear")
    with pytest.raises(UserError, match="expected model mlp or recurrent or conv for batch_norm"):
        resolve({**options, "batch_norm": True})


def test_the_config_of_a_run_is_a_file_like_any(tmp_path):
    """Also one that lists what nothing reads at its default, as the first versions wrote it."""
    file = tmp_path / "config.toml"
    file.write_text(to_toml(resolve({"beta": 0.5})) + "\n")
    assert resolve({"neuron": "alif"}, config=str(file)).network.beta == 0.5
    file.write_text("[network]\nbeta = 0.5\ntau_mem = 10.0\nkappa = 0.2")
    assert resolve(config=str(file)).network.beta == 0.5
    file.write_text("[network]\nbeta = 0.5\ntau_mem = 11.0")
    with pytest.raises(UserError, match="expected no beta for tau_mem"):
        resolve(config=str(file))
