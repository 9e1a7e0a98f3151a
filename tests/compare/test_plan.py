"""Which variants a comparison has, and what is wrong with one in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spikegrad.compare import plan
from spikegrad.compare.plan import Plan
from spikegrad.compare.vary import words_of
from spikegrad.errors import UserError
from spikegrad.train.config import OPTIONS, flatten
from spikegrad.train.together import unread


def names(**given):
    return [variant.name for variant in plan("digits", **given).variants]


def test_every_combination_is_a_variant_with_its_own_config():
    found = plan(
        "digits", surrogates=["arctan", "triangle"], slopes=[1, "2"],
        vary={"hidden": [(64,), "128,128"]}, seeds=3, options={"seed": 7, "epochs": 4},
    )  # fmt: skip
    assert len(found.variants) == 8
    assert found.seeds == (7, 8, 9)
    assert found.variants[0].name == "arctan, slope 1, hidden 64"
    last = found.variants[-1]
    assert last.name == "triangle, slope 2, hidden 128+128"
    network = last.config.network
    assert (network.surrogate, network.slope, network.hidden) == ("triangle", 2.0, (128, 128))
    assert {variant.config.training.epochs for variant in found.variants} == {4}
    trials = found.trials(Path("there"))
    assert len({trial.folder for trial in trials}) == len(trials) == 24
    assert [trial.config.run.seed for trial in trials[:8]] == [7] * 8


def test_a_variant_without_settings_of_its_own_is_the_config():
    assert names() == ["the config as it is"]
    assert names(surrogates=["arctan"]) == ["arctan"]
    assert names(options={"surrogate": "sigmoid", "slope": 3.0}) == ["sigmoid, slope 3"]
    shared = plan("digits", vary={"surrogate": ["arctan", "boxcar"], "slope": [2]}).variants
    assert [variant.name for variant in shared] == ["arctan", "boxcar"]
    assert {variant.config.network.slope for variant in shared} == {2.0}


def test_every_field_can_vary_or_says_why_not():
    values = flatten(plan("digits").variants[0].config)
    idle = unread(values, OPTIONS)  # what nothing reads in this recipe is refused, as for a run
    for field, value in values.items():
        if value in (None, "", ()) or field in idle:
            continue
        if field in ("seed", "out", "dataset"):
            with pytest.raises(UserError, match=f"tells variants apart, got {field}"):
                plan("digits", vary={field: [value]})
            continue
        found = plan(vary={field: [value]})
        assert flatten(found.variants[0].config)[field] == value


def test_a_plan_goes_through_json():
    found = plan("digits", surrogates=["arctan", "boxcar"], vary={"hidden": [(8,), (9, 9)]})
    assert Plan.from_data(json.loads(json.dumps(found.data()))) == found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"vary": {"hiden": [1]}}, "unknown field to vary 'hiden'; did you mean 'hidden'"),
        ({"vary": {"lr": [1]}}, "did you mean 'learning_rate'"),
        ({"vary": {"epochs": ["1", "x"]}}, "expected epochs as a whole number"),
        ({"vary": {"epochs": [1, 1]}}, "each value of epochs once"),
        ({"vary": {"epochs": []}}, "a value of epochs"),
        ({"vary": {"seed": [1, 2]}}, "--seeds N"),
        ({"vary": {"kappa": [0.1, 0.2]}}, "kappa 0.1: expected neuron alif"),
        ({"vary": {"epochs": [1, 2]}, "options": {"epochs": 3}}, "epochs once"),
        ({"vary": {"slope": [1]}, "slopes": [2]}, "the values of slope once"),
        ({"surrogates": ["arctan"], "options": {"surrogate": "boxcar"}}, "surrogate once"),
        ({"surrogates": ["arctan", "arctan"]}, "each of the surrogates once"),
        ({"surrogates": ["arctan"], "slopes": [0]}, "slope > 0"),
        ({"surrogates": []}, "at least one of the surrogates"),
        ({"metric": "accuracy"}, "unknown metric 'accuracy'"),
        ({"seeds": 0}, "seeds >= 1"),
        ({"equal": "area", "options": {"surrogate_normalisation": "peak"}}, "either equal"),
        ({"options": {"epoch": 1}}, "did you mean 'epochs'"),
        ({"config": "nothing"}, "unknown recipe 'nothing'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_runs(given, words):
    with pytest.raises(UserError, match=words):
        plan("digits", **given)


@pytest.mark.parametrize(
    "given", [{"surrogates": "arctan"}, {"seeds": 2.0}, {"vary": {"epochs": "1"}}]
)
def test_wrong_kinds_are_type_errors(given):
    with pytest.raises(TypeError, match="expected"):
        plan("digits", **given)


def test_the_words_of_the_command_line():
    assert words_of(["batch-size=1,2", "hidden=8,4+4"]) == {
        "batch_size": ["1", "2"], "hidden": ["8", "4,4"],
    }  # fmt: skip
    for wrong, words in (("epochs", "FIELD=VALUE"), ("epochs=", "FIELD=VALUE")):
        with pytest.raises(UserError, match=words):
            words_of([wrong])
    with pytest.raises(UserError, match="epochs once"):
        words_of(["epochs=1", "epochs=2"])
