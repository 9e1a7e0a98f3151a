"""Errors say which layer of a network raised them."""

from __future__ import annotations

import pickle

import pytest
import torch

import spikegrad as sg

X = torch.rand(6, 2, 4)


class Net(sg.Module):
    def __init__(self, into: int = 8, out: int = 8) -> None:
        super().__init__()
        self.into, self.lif1 = sg.Linear(4, 8), sg.LIF(20.0)
        self.on, self.skip, self.lif2 = sg.Linear(8, 8), sg.Linear(into, out), sg.LIF(20.0)
        self.body = sg.Sequential(sg.Linear(8, 5), sg.ALIF(20.0, 100.0))

    def flow(self, x):
        a = self.lif1(self.into(x))
        return self.body(self.lif2(self.on(a) + self.skip(a)))


def flat() -> sg.Sequential:
    return sg.Sequential(sg.Linear(4, 8), sg.LIF(20.0), sg.Linear(8, 8), sg.ALIF(20.0, 100.0))


def test_a_state_of_another_layer() -> None:
    network = flat()
    states = list(network(X)[1])
    with pytest.raises(TypeError, match=r"^layers 2-3 \(Linear, ALIF\): expected an ALIFState"):
        network(X, [*states[:3], states[1]])
    with pytest.raises(sg.UserError, match=r"^layers 0-1 \(Linear, LIF\): expected None as the"):
        network(X, [states[1], *states[1:]])
    other = network(torch.rand(6, 3, 4))[1]
    with pytest.raises(sg.UserError, match=r"^layers 2-3 \(Linear, ALIF\): expected state.v of"):
        network(X, [*states[:3], other[3]])
    alone = sg.Sequential(sg.LIF(20.0), sg.LI(20.0))
    states = list(alone(X)[1])
    with pytest.raises(TypeError, match=r"^layer 1 \(LI\): expected a LIState or None"):
        alone(X, [states[0], states[0]])


def test_names_of_containers_join() -> None:
    network = sg.Sequential(sg.Sequential(sg.Linear(4, 8), sg.LIF(20.0)), flat())
    with pytest.raises(sg.UserError, match=r"^layers 1.0-1 \(Linear, LIF\): expected Linear's in"):
        network(X)
    outer = sg.Sequential(Net(), sg.Linear(5, 3))
    states, _ = outer(X)[1]
    wrong = {**states, "lif2": states["body"][1]}
    with pytest.raises(TypeError, match=r"^layer 0.lif2 \(LIF\): expected a LIFState or None"):
        outer(X, (wrong, None))
    wrong = {**states, "body": (None, states["lif1"])}
    with pytest.raises(TypeError, match=r"^layers 0.body.0-1 \(Linear, ALIF\): expected an ALIF"):
        outer(X, (wrong, None))


def test_delays_behind_neurons() -> None:
    layers = [sg.Linear(4, 8), sg.BatchNorm(8), sg.LIF(20.0)]
    network = sg.Sequential(*layers, sg.DelayedLinear(9, 3, 4.0))
    with pytest.raises(sg.UserError, match=r"^layer 3 \(DelayedLinear\): expected DelayedLinear's"):
        network(X)
    network = sg.Sequential(sg.LIF(20.0), sg.DelayedLinear(4, 3, 4.0, learn="interpolation"))
    states = network(X)[1]
    with pytest.raises(TypeError, match=r"^layer 1 \(DelayedLinear\): expected a PendingState"):
        network(X, (states[0], states[0]))
    with pytest.raises(TypeError, match=r"^layer 0 \(LIF\): expected a LIFState"):
        network(X, (states[1], states[1]))


def test_a_layer_in_front_of_others_without_a_state_is_named_alone() -> None:
    network = sg.Sequential(sg.Linear(5, 8), torch.nn.ReLU(), sg.Linear(8, 8), sg.LIF(20.0))
    outer = sg.Sequential(torch.nn.Identity(), network)
    with pytest.raises(sg.UserError, match=r"^layer 1.0 \(Linear\): expected Linear's input"):
        outer(X)


def test_containers_that_give_no_names_are_found() -> None:
    loop = sg.Loop([sg.Linear(3, 8), sg.LIF(20.0)], sg.Linear(8, 4))
    with pytest.raises(sg.UserError, match=r"^layers 1.body.0-1 \(Linear, LIF\): expected Linear"):
        sg.Sequential(sg.LIF(20.0), loop)(X)


def test_an_error_holds_no_network_and_can_be_sent() -> None:
    with pytest.raises(sg.UserError) as caught:
        Net(into=7)(X)
    sent = pickle.loads(pickle.dumps(caught.value))
    assert str(sent) == str(caught.value)
    (place,) = vars(caught.value).values()
    assert not any(isinstance(part, torch.nn.Module) for part in place)

    class Own(TypeError):
        layer = "mine"

    class Raises(torch.nn.Module):
        def forward(self, x):
            raise Own("of mine")

    with pytest.raises(Own, match=r"^layer 1 \(Raises\): of mine"):
        sg.Sequential(sg.LIF(20.0), Raises())(X)


def test_a_connection_without_a_state_has_its_name_too() -> None:
    with pytest.raises(sg.UserError, match=r"^skip \(Linear\): expected Linear's input as"):
        Net(into=7)(X)
    with torch.no_grad(), pytest.raises(sg.UserError, match=r"^skip \(Linear\): expected Linear's"):
        Net(into=7)(X[:1])
    with pytest.raises(sg.UserError, match=r"^skip \(Linear\): expected Linear's input as"):
        Net(into=7)(X, lengths=[3, 6])


def test_a_connection_that_fails_when_it_is_read() -> None:
    class Half(sg.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = sg.Linear(4, 8, backend="cpu"), sg.LIF(20.0)

        def flow(self, x):
            return self.lif(self.fc(x))

    with pytest.raises(sg.UserError, match=r"^fc \(Linear\): expected a call of linear that"):
        Half().half()(X.half())


def test_a_sum_of_different_sizes_names_its_parts() -> None:
    expected = r"\[6, 2, 8\] of on \(Linear\) and \[6, 2, 7\] of skip \(Linear\)"
    with pytest.raises(sg.UserError, match=f"expected a sum of equal shapes, got {expected}"):
        Net(out=7)(X)

    class Numbers(Net):
        def flow(self, x):
            return self.lif1(self.into(x) + torch.ones(5))

    with pytest.raises(sg.UserError, match=r"of into \(Linear\) and \[5\] \(a tensor\)"):
        Numbers()(X)


def test_a_sum_that_torch_broadcasts_is_one() -> None:
    network = Net(out=1)
    assert network(X)[0].shape == (6, 2, 5)


def test_errors_of_others_stay_as_they_are() -> None:
    class Raises(torch.nn.Module):
        def forward(self, x):
            raise TypeError("one", "two")

    with pytest.raises(TypeError) as caught:
        sg.Sequential(sg.LIF(20.0), Raises())(X)
    assert caught.value.args == ("one", "two")
    with pytest.raises(RuntimeError, match=r"^mat1 and mat2"):
        sg.Sequential(torch.nn.Linear(3, 3), sg.LIF(20.0))(X)
