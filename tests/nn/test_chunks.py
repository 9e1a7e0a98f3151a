"""Convolutional networks without a backward pass run a few steps at a time: the same results."""

from __future__ import annotations

import pytest
import torch

import spikegrad as sg
from spikegrad.nn import chunks
from spikegrad.nn.chunks import steps_at_once


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps of the network below at a time."""
    monkeypatch.setattr(chunks, "KEPT", 3 * 2 * 6 * 10 * 10 * 4)


def network(*between: torch.nn.Module) -> sg.Sequential:
    """Dyadic weights: no order of a sum rounds."""
    torch.manual_seed(0)
    made = sg.Sequential(
        sg.Conv2d(2, 6, 3), *between, sg.IF(), sg.MaxPool2d(2),
        sg.Conv2d(6, 5, 3, padding=1), sg.LIF(beta=0.5), sg.AvgPool2d(2), torch.nn.Flatten(),
        sg.Linear(20, 4), sg.LI(beta=0.5),
    )  # fmt: skip
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randint(-8, 9, weight.shape) / 8)
    return made


def given(steps: int = 10) -> torch.Tensor:
    return (torch.rand(steps, 2, 2, 12, 12, generator=torch.Generator().manual_seed(1)) < 0.2) * 1.0


def test_chunks_equal_the_whole_and_so_do_states() -> None:
    net, x = network(), given()
    want, states = net(x)
    with torch.no_grad():
        assert steps_at_once(list(net), x) == 3
        got, after = net(x)
        first, between = net(x[:4])
        second, last = net(x[4:], between)
    assert torch.equal(got, want)
    assert torch.equal(torch.cat([first, second]), want)
    for one, other, third in zip(states, after, last, strict=True):
        assert type(one) is type(other) is type(third)
        if one is not None:
            assert torch.equal(one.v, other.v)
            assert torch.equal(one.v, third.v)


def test_what_must_see_the_whole_sequence_does() -> None:
    x = given()
    norm, own = sg.BatchNorm(6), torch.nn.BatchNorm2d(6)
    with torch.no_grad():
        assert steps_at_once(list(network(norm)), x) == 10  # its statistics are the sequence's
        assert steps_at_once(list(network(own).eval()), x) == 10  # nobody knows a module
        assert steps_at_once(list(network(norm).eval()), x) == 3
        assert steps_at_once(list(network()), x[:1].expand(10, -1, -1, -1, -1)) == 10
        assert steps_at_once([sg.Linear(3, 4), sg.LIF(beta=0.5)], torch.zeros(10, 2, 3)) == 10
        with sg.record(net := network()):
            assert steps_at_once(list(net), x) == 10
        net = network()
        net[1].register_forward_hook(lambda *_: None)
        assert steps_at_once(list(net), x) == 10
    assert steps_at_once(list(network()), x) == 10  # a backward pass follows


def test_hooks_of_the_network_see_it_run_once() -> None:
    net, calls = network(), []
    net.register_forward_hook(lambda *given: calls.append(1))
    with torch.no_grad():
        net(given())
    assert calls == [1]


def test_wrong_input_is_refused_once_for_the_whole() -> None:
    x = given()
    x[9, 1, 0, 3, 3] = float("nan")
    with torch.no_grad(), pytest.raises(sg.UserError, match="finite"):
        network()(x)
