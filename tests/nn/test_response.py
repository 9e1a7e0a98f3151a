"""The response of a step's membrane to one input spike, and weights that are drawn from it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import spikegrad as sg
from spikegrad.errors import UserError
from spikegrad.nn import fluctuation_driven, initialise, psp
from spikegrad.nn.response import response

MEMBRANE = {
    "tau_mem": sg.TimeConstant(20.0, decay="beta"),
    "threshold": 1.5,
    "v_rest": 0.5,
    "v_reset": 0.5,
}


def leaky(x: Tensor, s: Any, p: Any) -> Any:
    u = p.v_rest + p.beta * (s.v - p.v_rest) + x
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired)}


@sg.neuron(states={"v": "v_rest", "i": 0.0}, parameters={**MEMBRANE, "alpha": 0.8})
def Cuba(x: Tensor, s: Any, p: Any) -> Any:
    i = p.alpha * s.i + x
    u = p.v_rest + p.beta * (s.v - p.v_rest) + i
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired), "i": i}


Leaky = sg.neuron(states={"v": "v_rest"}, parameters=MEMBRANE)(leaky)
OTHER = {"threshold": 1.5, "v_rest": 0.5}
PAIRS = [(Leaky(), sg.LIF(20.0, **OTHER)), (Cuba(), sg.CUBALIF(20.0, alpha=0.8, **OTHER))]


@pytest.mark.parametrize(("step", "built_in"), PAIRS)
def test_the_response_of_a_step_is_that_of_its_closed_form(step, built_in) -> None:
    """LIF: 1/(1-b) and 1/(1-b^2). The run ends at 1e-5 of the peak, float32 decays add as much."""
    assert psp(step) == pytest.approx(psp(built_in), rel=1e-4)
    # The impulse at which it fires is known within a percent.
    assert response(step).distance == pytest.approx(1.0, rel=0.01)
    slow = Leaky(tau_mem=torch.tensor([10.0, 40.0]), threshold=torch.tensor([1.0, 4.5]))
    assert response(slow).distance == pytest.approx(2.25, rel=0.01)


def membranes(kind: type[sg.nn.StepNeuron], xi: float, mu: float, **values: float) -> Tensor:
    """Membranes `[T, B, N]` at the currents of 300 inputs of 0.03 spikes per step, from t = 200."""
    torch.manual_seed(0)
    layer = sg.Linear(300, 300, bias=False)
    fluctuation_driven(layer, kind(), rate=0.03, xi=xi, mu=mu)
    x = (torch.rand(1200, 1, 300) < 0.03).float()
    with torch.no_grad():
        *_, trace = kind.step(layer(x), trace=True, **values)
    return trace.membrane[200:]


def test_the_membrane_of_glif_has_the_mean_and_the_variance_that_were_asked_for() -> None:
    """xi and mu around a rest of -78.85 mV, with the threshold 27.17 mV above; no spikes."""
    u = membranes(sg.GLIF, 2.0, 5.0, threshold=1e6)
    assert u.mean().item() == pytest.approx(-78.85 + 5.0, abs=0.5)
    # One draw of weights and 1000 steps: a few percent.
    assert u.var(0).mean().sqrt().item() == pytest.approx((27.17 - 5.0) / 2.0, rel=0.06)


def test_the_membrane_of_adex_fluctuates_around_rest_as_asked() -> None:
    """It is taken to fire where its upstroke begins, 24 mV above rest and not at its peak, +20."""
    distance = response(sg.AdEx()).distance
    # v_t lies 20.2 mV above rest; an impulse must lift it a little higher
    assert 20.2 < distance < 26.0
    u = membranes(sg.AdEx, 8.0, 0.0)
    assert u.mean().item() == pytest.approx(-70.6, abs=0.5)
    assert u.var(0).mean().sqrt().item() == pytest.approx(distance / 8.0, rel=0.08)


def test_rest_counts_for_built_in_neurons_too() -> None:
    """The threshold was taken from 0: a rest of -65 made weights several times too large."""
    at_zero, at_rest = sg.Linear(50, 40), sg.Linear(50, 40)
    for layer, neuron in ((at_zero, sg.LIF(20.0, threshold=15.0)),
                          (at_rest, sg.LIF(20.0, threshold=-50.0, v_rest=-65.0))):  # fmt: skip
        fluctuation_driven(layer, neuron, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(at_zero.weight, at_rest.weight)


def test_a_network_of_neurons_in_picoamperes_fires_after_it() -> None:
    torch.manual_seed(0)
    network = sg.Sequential(sg.Linear(100, 30), sg.AdEx(), sg.Linear(30, 4), Readout())
    x = (torch.rand(100, 4, 100) < 0.05).float()
    initialise(network, "fluctuation", rate=0.05, xi=1.0)
    assert network[2].weight.abs().max() < 2  # drives no spiking layer: as before a readout
    with torch.no_grad(), sg.record(network) as tapes:
        network(x)
    assert 0.001 < tapes["1"].spikes.mean() < 0.1


@sg.neuron(states={"v": 0.0}, parameters={"beta": 0.9}, spikes=False)
def Readout(x: Tensor, s: Any, p: Any) -> Any:
    v = p.beta * s.v + (1 - p.beta) * x
    return v, {"v": v}


def made(equation: Any, **parameters: float) -> sg.nn.StepNeuron:
    """A neuron of one state with this equation of its membrane."""

    def own(x: Tensor, s: Any, p: Any) -> Any:
        u = equation(x, s.v)
        fired = p.spike(u, p.threshold)
        return fired, {"v": p.reset(u, fired)}

    return sg.neuron(states={"v": 0.0}, parameters={"threshold": 1.0, **parameters})(own)()


REFUSED = [
    (made(lambda x, v: v + x), r"decays to 1% within 1000 steps, got 100% of its peak"),
    (made(lambda x, v: 0.9 * v + x**3), r"alike within 10%, got a difference of 300%"),
    (made(lambda x, v: 0.9 * v + x + 0.2), r"silence without input, got spikes"),
    (made(lambda x, v: 0.9 * v + 0 * x), r"a current at which it begins to fire, got none"),
    (Readout(), r"spikes, got a neuron that sends none"),
    (sg.SynapticLIF(), r"one input, got 2"),
]


@pytest.mark.parametrize(("neuron", "says"), REFUSED)
def test_a_response_that_says_nothing_is_refused(neuron: sg.nn.StepNeuron, says: str) -> None:
    with pytest.raises(UserError, match=rf"expected of \w+ .*{says}"):
        psp(neuron)
