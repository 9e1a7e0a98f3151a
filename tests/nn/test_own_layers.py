"""Layers of a user's own, by subclass or on the object: they run, and what cannot see them says so.

A `forward` set on a layer in a Sequential was once ignored; a subclass of SpikingNeuron behind a
Linear ended in a KeyError; a layer with a state of its own was in no measurement, without a word.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.nn.functional import cross_entropy

import spikegrad as sg
from spikegrad import functional as F
from spikegrad.diagnose import firing_rates, preflight
from spikegrad.errors import SpikegradWarning, UserError
from spikegrad.nn import calibrate
from spikegrad.types import LIFState

X = torch.rand(6, 3, 4, generator=torch.Generator().manual_seed(0)) * 2


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_forward_set_on_a_layer_is_called(place: int) -> None:
    torch.manual_seed(0)
    network = sg.Sequential(sg.Linear(4, 5), sg.LIF(5.0), sg.Linear(5, 2))
    called, real = [], network[place].forward
    network[place].forward = lambda *args: called.append(1) or real(*args)
    y, _ = network(X)
    assert called == [1]
    del network[place].forward
    assert torch.equal(network(X)[0], y)


def test_a_forward_set_on_a_neuron_before_a_pool_is_called() -> None:
    network = sg.Sequential(sg.Conv2d(1, 2, 3, padding=1), sg.LIF(beta=0.5), sg.MaxPool2d(2))
    x = F.direct(torch.rand(2, 1, 8, 8), 4)
    for layer in network:
        called, real = [], layer.forward
        layer.forward = lambda *args, real=real, called=called: called.append(1) or real(*args)
        network(x)
        assert called == [1]
        del layer.forward


def test_a_leading_neuron_with_a_forward_of_its_own_is_asked_nothing_about_its_state() -> None:
    network = sg.Sequential(sg.LIF(5.0))
    network[0].forward = lambda x, state=None: (x, ("anything", None))
    assert torch.equal(network(X)[0], X)


def test_recurrent_refuses_a_neuron_whose_forward_it_would_not_call() -> None:
    class Own(sg.LIF):
        def forward(self, x, state=None):
            return super().forward(2 * x, state)

    with pytest.raises(
        TypeError, match=r"without a forward of its own in Recurrent, got Own; .*bound"
    ):
        sg.Recurrent(Own(5.0), 4)(X)
    layer = sg.Recurrent(sg.LIF(5.0), 4)
    layer.neuron.forward = lambda *args: None
    for network in (layer, sg.Sequential(sg.Linear(4, 4), layer)):
        with pytest.raises(TypeError, match="override bound"):
            network(X)


class Quadratic(sg.nn.SpikingNeuron):
    """u[t] = v^2 / 2 + x[t], by its own scan."""

    scan = "quadratic"

    def bound(self):
        def scan(x, state=None, *, trace=False):
            v = torch.zeros_like(x[0]) if state is None else state.v
            membranes = []
            for current in x:
                u = 0.5 * v * v + current
                membranes.append(u)
                v = u * (u < self.threshold())
            u = torch.stack(membranes)
            distance = u - self.threshold()
            s = sg.surrogate.spike(distance, self.surrogate)
            more = (sg.types.Trace(x, u, distance, s),) if trace else ()
            return (s, LIFState(v), *more)

        return scan


def test_a_subclass_with_a_scan_of_its_own_runs_behind_a_linear() -> None:
    torch.manual_seed(0)
    network = sg.Sequential(sg.Linear(4, 5), Quadratic(), sg.Linear(5, 2))
    y, states = network(X)
    current = network[0](X)
    want, _ = network[1](current)
    torch.testing.assert_close(y, network[2](want))
    assert isinstance(states[1], LIFState)
    y.sum().backward()
    assert network[0].weight.grad.abs().sum() > 0
    assert firing_rates(network, X)["1"] == pytest.approx(want.mean().item())
    (done,) = calibrate(network, X, rate=0.2)
    assert done.layer == "1"
    fed_back = sg.Sequential(sg.Linear(4, 5), sg.Recurrent(Quadratic(), 5))
    assert fed_back(X)[0].shape == (6, 3, 5)


def test_a_subclass_without_a_scan_is_named() -> None:
    class Bare(sg.nn.SpikingNeuron):
        pass

    for network in (Bare(), sg.Sequential(sg.Linear(4, 5), Bare())):
        with pytest.raises(TypeError, match=r"a scan of spikegrad.kernels: .* got Bare with none"):
            network(X)


class Memory(sg.nn.Stateful):
    """Sums its input; never recorded."""

    def __init__(self, threshold: float = 1.0) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x, state=None):
        u = x.cumsum(0) + (0.0 if state is None else state)
        return F.spiking(u, threshold=self.threshold), u[-1]


def test_an_own_neuron_that_no_tape_hears_is_named() -> None:
    torch.manual_seed(0)
    network = sg.Sequential(sg.Linear(4, 5), Memory(), sg.Linear(5, 8), sg.LIF(5.0), sg.Dropout())
    said = r"layer 1 \(Memory\) cannot be recorded"
    with pytest.warns(SpikegradWarning, match=said):
        assert list(firing_rates(network, X)) == ["3"]
    with pytest.warns(SpikegradWarning, match=said), sg.record(network):
        network(X)
    before = [p.clone() for p in network.parameters()]
    with pytest.raises(TypeError, match=r"whose rate can be measured, got layer 1 \(Memory\)"):
        calibrate(network, X)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))

    class Block(sg.nn.Stateful):
        def __init__(self):
            super().__init__()
            self.inner = sg.LIF(5.0)

        def forward(self, x, state=None):
            return self.inner(x, state)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(firing_rates(sg.Sequential(sg.Linear(4, 3), Block()), X)) == ["1.inner"]


def test_the_preflight_points_at_the_layer_that_it_cannot_see() -> None:
    """Its silence once was blamed on the layers around it."""
    torch.manual_seed(0)
    network = sg.Sequential(
        sg.Linear(4, 5), Memory(threshold=100.0), sg.Linear(5, 8, bias=False), sg.LIF(5.0)
    )
    labels = torch.arange(3)
    found = preflight(network, X, labels, loss=lambda y, t: cross_entropy(y.mean(0), t))
    lines = {f.layer: f.line() for f in found}
    assert "has a state but cannot be recorded" in lines["1"]
    assert lines["3"].endswith("look at the output of layer 1 first: it cannot be recorded")
    assert "calibrate" not in lines["3"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sg.LIF(5.0, detach_reset="no"), "detach_reset as True or False, got 'no'"),
        (lambda: sg.LIF(5.0, detach_reset=0), "detach_reset as True or False, got 0"),
        (lambda: F.lif(X, beta=0.5, detach_reset="no"), "detach_reset as True or False"),
        (lambda: sg.LIF(5.0, learn=None), "learn as a word or several words, got None"),
        (lambda: sg.LI(5.0, learn=3), "learn as a word or several words, got 3"),
        (lambda: sg.LIF(beta="0.9"), "beta as a number or a tensor, got '0.9'"),
        (lambda: sg.CUBALIF(5.0, alpha="0.9"), "alpha as a number or a tensor"),
        (lambda: sg.ALIF(5.0, rho="0.9"), "rho as a number or a tensor"),
        (lambda: sg.ALIF(5.0, 9.0, kappa=None), "kappa as a number or a tensor"),
        (lambda: sg.LIF("20"), "tau_mem as a number or a tensor, got '20'"),
        (lambda: sg.LIF(5.0, threshold=None), "threshold as a number or a tensor, got None"),
        (lambda: sg.Spiking(None), "threshold as a number or a tensor, got None"),
        (lambda: sg.LIF(5.0, v_reset="0"), "v_reset as a number"),
        (lambda: sg.LIF(5.0, v_rest=None), "v_rest as a number"),
        (lambda: sg.LIF(5.0, refractory="2"), "refractory as a number"),
        (lambda: sg.LIF(5.0, dt=None), "dt as a number"),
        (lambda: sg.LI(5.0, dt=None), "dt as a number"),
        (lambda: sg.LIF(5.0, size="3"), "size as a whole number or several, got '3'"),
        (lambda: sg.Recurrent(sg.LIF(5.0), "3"), "features as a whole number, got '3'"),
    ],
)
def test_arguments_of_a_wrong_kind_are_named(make, words: str) -> None:
    """A word counted as True; others ended in an AttributeError of another room."""
    with pytest.raises(TypeError, match=words):
        make()


def test_a_state_that_is_not_finite_is_named() -> None:
    """Behind it a neuron never spikes: NaN is below every threshold."""
    bad = torch.zeros(3, 4)
    bad[1, 2] = float("nan")
    with pytest.raises(UserError, match=r"states.0.v to be finite, got 1 of 12 values"):
        sg.Sequential(sg.LIF(5.0))(X, (LIFState(bad),))
    with pytest.raises(UserError, match=r"states.1.v to be finite"):
        sg.Sequential(sg.Linear(4, 4), sg.LIF(5.0))(X, (None, LIFState(bad)))
