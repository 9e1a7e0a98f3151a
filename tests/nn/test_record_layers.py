"""`record(network, layers=...)`: some layers alone, by name or as they are."""

from __future__ import annotations

import pytest
import torch

import spikegrad as sg
from spikegrad.errors import UserError


@pytest.fixture
def network():
    torch.manual_seed(0)
    return sg.Sequential(
        sg.Linear(4, 6),
        sg.LIF(5.0),
        sg.Linear(6, 5),
        sg.ALIF(5.0, tau_adapt=20.0),
        sg.Linear(5, 2),
        sg.LI(5.0),
    )


def test_only_the_layers_that_were_asked_for_are_recorded(network):
    x = torch.rand(7, 3, 4) * 3
    with sg.record(network) as every:
        y, _ = network(x)
    for layers in (["3"], [network[3]]):
        with sg.record(network, layers=layers) as tapes:
            assert network[1].tape is None
            again, _ = network(x)
        assert list(tapes) == ["3"]
        torch.testing.assert_close(tapes["3"].spikes, every["3"].spikes)
        torch.testing.assert_close(tapes["3"].membrane, every["3"].membrane)
        torch.testing.assert_close(again, y)
    assert network[3].tape is None


def test_no_layer_is_a_recording_of_nothing(network):
    with sg.record(network, layers=[]) as tapes:
        network(torch.rand(7, 3, 4))
    assert tapes == {}


def test_feedback_is_recorded_by_the_name_of_its_neuron():
    network = sg.Sequential(sg.Linear(4, 6), sg.Recurrent(sg.LIF(5.0), 6))
    with sg.record(network, layers=["1.neuron"]) as tapes:
        network(torch.rand(7, 3, 4))
    assert tapes["1.neuron"].spikes.shape == (7, 3, 6)


@pytest.mark.parametrize(
    ("layers", "error", "said"),
    [
        (["33"], UserError, "unknown layer '33'; did you mean '3'"),
        (["0"], UserError, "expected layers that can be recorded .1, 3, 5., got 0 .Linear."),
        ([sg.LIF(1.0)], UserError, "got a layer of another network .LIF."),
        ("3", TypeError, "expected layers as a list, got str"),
    ],
)
def test_a_layer_that_cannot_be_recorded_is_named(network, layers, error, said):
    with pytest.raises(error, match=said), sg.record(network, layers=layers):
        pass
    assert all(m.tape is None for m in network.modules() if hasattr(m, "tape"))
