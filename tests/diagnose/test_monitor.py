"""`diagnose.Monitor`: what it says, when, how often, and when there is no hope."""

from __future__ import annotations

import json
import math
from dataclasses import astuple

import pytest
import torch

from spikegrad.diagnose import Fired, Look, Monitor, Norms, fired
from spikegrad.diagnose.finding import Finding

ALIVE, DEAD, FULL = Fired(0.1, 0.2, 0.0), Fired(0.0, 1.0, 0.0), Fired(1.0, 0.0, 1.0)


def look(
    step: int, layer: Fired = ALIVE, *, loss: float = 2.3, gradient: float = 1.0, **more
) -> Look:
    norms = {"1": Norms(gradient, more.pop("weight", 10.0))}
    return Look(step, loss, more.pop("samples", 64), {"2": layer}, norms)


def told(monitor: Monitor, *looks: Look) -> list[list[Finding]]:
    return [monitor.see(each) for each in looks]


def test_shares_are_those_of_the_neurons():
    spikes = torch.zeros(4, 2, 5)
    spikes[:, :, 0] = 1.0
    spikes[0, 0, 1] = 1.0
    assert astuple(fired(spikes.mean((0, 1)))) == pytest.approx((9 / 40, 0.6, 0.2))
    assert fired(torch.tensor([4.0, 2.0]), 4) == Fired(3.0, 0.0, 0.5)
    rounded = torch.tensor([1.0 - 1e-7])  # of several processes
    assert fired(rounded).always == 1.0


def test_a_layer_that_dies_is_said_at_the_third_look_and_once():
    monitor = Monitor()
    found = told(monitor, *[look(step, ALIVE if step < 40 else DEAD) for step in range(1, 201, 10)])
    said = {1 + 10 * i: each for i, each in enumerate(found) if each}
    assert list(said) == [61]
    ((finding,),) = said.values()
    assert (finding.kind, finding.layer, finding.severity) == ("silent", "2", "error")
    assert "has not fired since step 41 (before: 0.1 spikes per neuron and step)" in finding.line()


def test_a_single_silent_batch_is_nothing():
    monitor = Monitor()
    layers = [DEAD, DEAD, ALIVE] * 10
    assert not any(told(monitor, *[look(i, each) for i, each in enumerate(layers)]))
    assert monitor.hopeless == ""


@pytest.mark.parametrize(
    ("layer", "samples", "kinds"),
    [
        (Fired(1e-4, 0.99, 0.0), 64, ["silent"]),
        (Fired(1e-4, 0.99, 0.0), 4, []),  # in few samples most neurons have nothing to do
        (Fired(0.99, 0.0, 0.985), 64, ["saturated"]),
        (FULL, 4, ["saturated"]),
        (Fired(0.5, 0.5, 0.5), 64, []),
    ],
)
def test_what_counts_as_dead_and_saturated(layer, samples, kinds):
    monitor = Monitor()
    found = told(monitor, *[look(step, layer, samples=samples) for step in range(5)])
    assert [finding.kind for each in found for finding in each] == kinds


def test_a_gradient_that_explodes():
    monitor = Monitor()
    usual = [look(step, gradient=0.1 + 0.01 * step) for step in range(10)]
    assert not any(told(monitor, *usual))
    (finding,) = monitor.see(look(10, gradient=200.0))
    assert (finding.kind, finding.layer) == ("explodes", "1")
    assert finding.measure == pytest.approx(200.0 / 0.145, rel=1e-6)
    assert not any(told(monitor, look(11, gradient=300.0), look(12, gradient=math.inf)))


def test_a_gradient_that_grows_but_is_small_beside_its_weights_is_nothing():
    """A network that wakes up: from 1e-6 to 1 with weights of norm 10."""
    monitor = Monitor()
    assert not any(told(monitor, *[look(step, gradient=1e-6) for step in range(5)]))
    assert not any(told(monitor, *[look(step, gradient=1.0) for step in range(5)]))


def test_the_first_looks_have_nothing_to_compare_with():
    monitor = Monitor()
    assert not any(told(monitor, look(1, gradient=1e-9), look(11, gradient=1e9)))


def test_no_gradient_at_all():
    monitor = Monitor()
    found = told(monitor, *[look(step, gradient=0.0) for step in range(4)])
    assert [len(each) for each in found] == [0, 0, 1, 0]
    assert found[2][0].line().startswith("every gradient is exactly 0 since step 0")


@pytest.mark.parametrize(
    ("layer", "losses", "words"),
    [
        (DEAD, [2.3] * 12, "layer 2 is silent since step 0, and the loss does not fall: 2.3, then"),
        (FULL, [2.3] * 12, "layer 2 is saturated since step 0"),
        (DEAD, [2.3 - 0.05 * i for i in range(12)], ""),  # it learns all the same
        (DEAD, [2.3] * 9, ""),
        (ALIVE, [2.3] * 30, ""),  # it may only need time
    ],
)
def test_hopeless(layer, losses, words):
    monitor = Monitor()
    told(monitor, *[look(step, layer, loss=loss) for step, loss in enumerate(losses)])
    assert monitor.hopeless.startswith(words)
    assert bool(monitor.hopeless) == bool(words)


@pytest.mark.parametrize("cut", [3, 6, 14])
def test_what_it_remembers_goes_through_json(cut):
    looks = [
        look(s, ALIVE if s < 5 else DEAD, gradient=0.1 if s < 13 else 500.0) for s in range(20)
    ]
    whole, first, second = Monitor(), Monitor(), Monitor()
    expected = told(whole, *looks)
    found = told(first, *looks[:cut])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert found + told(second, *looks[cut:]) == expected
    assert second.hopeless == whole.hopeless != ""
    with pytest.raises(KeyError):
        Monitor().load_state_dict({})
