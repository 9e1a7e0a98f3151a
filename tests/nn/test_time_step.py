"""Layers, and events, that count in ms with steps of different length."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.nn.functional import cross_entropy

import spikegrad as sg
from spikegrad.diagnose import preflight
from spikegrad.neurons import Izhikevich


class Net(sg.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lif, self.readout = sg.LIF(20.0), sg.LI(20.0, dt=0.1)

    def flow(self, x):
        return self.readout(self.lif(x))


def warned(made) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made()
    return [str(w.message) for w in caught if w.category is sg.SpikegradWarning]


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (lambda: (sg.LIF(20.0), sg.LI(20.0)), ""),
        (lambda: (sg.LIF(20.0), sg.LI(20.0, dt=0.5)), "1 ms in 0 (LIF), 0.5 ms in 1 (LI)"),
        (
            lambda: (sg.DelayedLinear(3, 2, 5.0, dt=0.5), sg.Linear(2, 2), sg.LIF(20.0)),
            "0.5 ms in 0 (DelayedLinear), 1 ms in 2 (LIF)",
        ),
        (lambda: (sg.DelayedLinear(3, 2, 5.0, dt=0.5), sg.LIF(beta=0.9), sg.IF()), ""),
        (lambda: (sg.LIF(20.0), sg.LIF(beta=0.9, dt=2.0, refractory=4.0)), "2 ms in 1 (LIF)"),
        (lambda: (Izhikevich(dt=0.5), sg.LIF(20.0)), "0.5 ms in 0 (Izhikevich)"),
        (lambda: (sg.LIF(20.0, dt=0.1 * 3), sg.LI(20.0, dt=0.3)), ""),
        (lambda: (sg.LIF(beta=0.9, learn="tau_mem"), sg.LIF(20.0, dt=3.0)), "3 ms in 1 (LIF)"),
        (
            lambda: (sg.Sequential(sg.LIF(20.0)), sg.Recurrent(sg.LIF(20.0, dt=2.0), 3)),
            "1 ms in 0.0 (LIF), 2 ms in 1.neuron (LIF)",
        ),
    ],
)
def test_layers_in_a_row(layers, said: str) -> None:
    found = warned(lambda: sg.Sequential(*layers()))
    assert len(found) == bool(said)
    assert not said or said in found[0]


def test_a_module_says_so_once() -> None:
    network, x = Net(), torch.rand(3, 4, 2)
    found = warned(lambda: network(x))
    assert ["1 ms in lif (LIF), 0.1 ms in readout (LI)" in line for line in found] == [True]
    assert not warned(lambda: network(x))


def test_what_a_container_in_it_has_said_is_not_said_again() -> None:
    inner = [sg.LIF(20.0), sg.LI(20.0, dt=0.5)]
    assert len(warned(lambda: sg.Sequential(sg.Sequential(*inner), sg.LIF(20.0)))) == 1
    more = warned(lambda: sg.Sequential(sg.Sequential(*inner), sg.LIF(20.0, dt=2.0)))
    assert ["2 ms in 1 (LIF)" in line for line in more] == [False, True]


def test_events_into_a_module() -> None:
    class Fits(Net):
        def __init__(self) -> None:
            super().__init__()
            self.readout = sg.LI(20.0)

    network, events = Fits(), sg.Events([0.2, 3.0], [0, 1], size=3, dt=2.0)
    silent = sg.Events([], [], size=3, dt=2.0, duration=4.0)
    (found,) = warned(lambda: network(sg.Events.batch([silent, events])))
    assert "2 ms in the events, 1 ms in lif (LIF)" in found
    for given in (events, events.dense(), events):
        assert not warned(lambda given=given: network(given))


def test_events() -> None:
    network = sg.Sequential(sg.Linear(3, 2), sg.LIF(20.0))
    events = sg.Events([0.2, 3.0], [0, 1], size=3, dt=2.0)
    batch = sg.Events.batch([events, events])
    (found,) = warned(lambda: network(batch))
    assert "2 ms in the events, 1 ms in 1 (LIF)" in found
    assert not warned(lambda: network(events))  # said
    assert not warned(lambda: network(sg.Events([0, 3], [0, 1], size=3, dt=2.0)))  # steps
    assert not warned(lambda: network(sg.Events([0.2, 3.0], [0, 1], size=3)))


def test_the_preflight_finds_it() -> None:
    labels = torch.arange(4) % 2
    how = {"loss": lambda y, labels, lengths=None: cross_entropy(y.mean(0), labels)}
    found = preflight(Net(), torch.rand(30, 4, 2) * 3, labels, **how)
    assert [f.severity for f in found if f.kind == "time-step"] == ["warning"]
    fits = sg.Sequential(sg.Linear(2, 2), sg.LIF(20.0, dt=2.0), sg.Linear(2, 2))
    for events, many in ((1.0, 1), (2.0, 0)):
        x = sg.Events.batch([sg.Events([0.5, 40.0], [0, 1], size=2, dt=events)] * 4)
        found = preflight(fits, x, labels, **how)
        assert sum(f.kind == "time-step" for f in found) == many
