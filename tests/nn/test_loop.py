"""Feedback around layers: against a loop by hand, `Recurrent`, chunks, lengths, wrong input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import spikegrad as sg
from spikegrad.errors import UserError
from spikegrad.nn.wiring import wiring
from spikegrad.types import LoopState

STEPS, BATCH = 11, 3


def deep(delay: int = 1, seed: int = 0) -> sg.Loop:
    """Two populations, fed back through a connection and a synapse."""
    torch.manual_seed(seed)
    body = [sg.LIF(5.0), sg.Linear(4, 6), sg.LIF(8.0)]
    return sg.Loop(body, [sg.Linear(6, 4), sg.LI(5.0)], delay=delay)


def by_hand(loop: sg.Loop, x: Tensor) -> Tensor:
    """The definition, one step at a time, with whole histories."""
    came: list[Tensor] = []
    outputs, body, back = [], None, None
    for t in range(len(x)):
        current = x[t : t + 1]
        if t >= loop.delay:
            current = current + came[t - loop.delay]
        y, body = loop.body(current, body)
        fed, back = loop.back(y, back)
        came.append(fed)
        outputs.append(y)
    return torch.cat(outputs)


def driven(seed: int = 1, features: int = 4) -> Tensor:
    return 1.5 * torch.rand(STEPS, BATCH, features, generator=torch.manual_seed(seed))


@pytest.mark.parametrize("delay", [1, 2, 5, 20])
def test_a_loop_is_its_definition(delay: int) -> None:
    loop = deep(delay).double()
    x = driven().double().requires_grad_()
    weights = list(loop.parameters())
    y, _ = loop(x)
    expected = by_hand(loop, x)
    assert y.sum() > 0
    assert torch.equal(y, expected)
    given = torch.rand_like(y)
    # With a delay beyond the sequence nothing comes back, and `back` has no gradient.
    found = torch.autograd.grad(y, [x, *weights], given, allow_unused=True)
    wanted = torch.autograd.grad(expected, [x, *weights], given, allow_unused=True)
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, rtol=1e-10, atol=1e-12)
    assert (found[-1] is None or not found[-1].any()) == (delay > STEPS)


def test_gradients_are_those_of_finite_differences_in_soft_mode() -> None:
    soft = sg.surrogate.sigmoid(4.0).soft()
    body = [sg.LIF(5.0, surrogate=soft, detach_reset=False)]
    loop = sg.Loop(body, sg.Linear(3, 3), delay=2).double()
    x = driven(features=3)[:5].double().requires_grad_()

    def run(x: Tensor, weight: Tensor) -> Any:
        weights = {"back.0.weight": weight}
        return torch.func.functional_call(loop, weights, (x,))[0]

    weight = loop.back[0].weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(run, (x, weight))


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_around_one_layer_it_is_recurrent(backend: str) -> None:
    torch.manual_seed(0)
    weight = sg.Linear(4, 4, bias=False)
    with torch.no_grad():  # quarters: sums are exact in any order
        weight.weight.copy_((8 * torch.rand(4, 4) - 4).round() / 4)
    x = (8 * driven()).round() / 8
    loop = sg.Loop(sg.LIF(beta=0.5, backend=backend), weight)
    recurrent = sg.Recurrent(sg.LIF(beta=0.5, backend=backend), connection=weight)
    y, state = loop(x)
    expected, after = recurrent(x)
    assert torch.equal(y, expected)
    assert torch.equal(state.body[0].v, after.neuron.v)
    for a, b in zip(
        torch.autograd.grad(y.sum(), weight.parameters()),
        torch.autograd.grad(expected.sum(), weight.parameters()),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("delay", [1, 3])
@pytest.mark.parametrize("cuts", [[4], [1, 2], list(range(1, STEPS))])
def test_chunks_are_the_whole(delay: int, cuts: list[int]) -> None:
    loop, x = deep(delay), driven()
    whole, end = loop(x)
    parts, state = [], None
    for first, last in zip([0, *cuts], [*cuts, STEPS], strict=True):
        y, state = loop(x[first:last], state)
        parts.append(y)
    assert torch.equal(torch.cat(parts), whole)
    assert state is not None
    assert all(torch.equal(a, b) for a, b in zip(state.fed, end.fed, strict=True))


def test_samples_of_different_length_are_as_if_alone() -> None:
    network = sg.Sequential(sg.Linear(5, 4), deep(3), sg.Linear(6, 2), sg.LI(5.0))
    x, lengths = driven(features=5), [11, 2, 5]
    y, states = network(x, lengths=torch.tensor(lengths))
    for k, n in enumerate(lengths):
        alone, end = network(x[:n, k : k + 1])
        assert torch.allclose(y[:n, k : k + 1], alone, atol=1e-6)
        assert not y[n:, k].any()
        for a, b in zip(end[1].fed, states[1].fed, strict=True):
            assert torch.allclose(a, b[k : k + 1], atol=1e-6)


def test_loops_nest_and_convolutions_feed_back() -> None:
    torch.manual_seed(0)
    inner = sg.Loop(sg.LIF(5.0), sg.Conv2d(2, 2, 3, padding=1))
    outer = sg.Loop([inner, sg.Conv2d(2, 3, 3, padding=1), sg.LIF(5.0)], sg.Conv2d(3, 2, 1))
    x = torch.rand(6, 2, 2, 5, 5)
    y, state = outer(x)
    assert y.shape == (6, 2, 3, 5, 5)
    assert isinstance(state.body[0], LoopState)
    assert torch.allclose(y, by_hand(outer, x))
    assert torch.autograd.grad(y.sum(), inner.back[0].weight)[0].any()


def test_the_tools_know_what_is_inside() -> None:
    network = sg.Sequential(sg.Linear(5, 4), deep(2), sg.Linear(6, 2), sg.LI(5.0))
    x = 3 * driven(features=5)
    with sg.record(network) as tapes:
        y, _ = network(x)
    assert tapes["1.body.2"].spikes.shape == (STEPS, BATCH, 6)
    assert set(sg.diagnose.firing_rates(network, x)) >= {"1.body.0", "1.body.2"}
    explained = sg.diagnose.explain(network, x)
    inside = {each.layers: each.calls for each in explained}
    assert inside["1.body.1", "1.body.2"] == -(-STEPS // 2)
    assert len(inside) == len(explained)
    assert f"{-(-STEPS // 2)} calls" in str(explained)
    wires = {w.name: [type(n).__name__ for n in w.neurons] for w in wiring(network, x)}
    assert wires["1.body.1"] == ["LIF"]
    step = sg.stream(network, batch=BATCH)
    assert torch.allclose(torch.stack([step(now) for now in x]), y, atol=1e-6)


class Inside(sg.Module):
    """A loop as one layer of a module."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.loop = sg.Linear(5, 4), deep()

    def flow(self, x: Tensor) -> Any:
        return self.loop(self.into(x))


def test_it_is_a_layer_of_a_module() -> None:
    network, x = Inside(), driven(features=5)
    y, states = network(x)
    assert list(states) == ["loop"]
    first, between = network(x[:4])
    rest, _ = network(x[4:], between)
    assert torch.equal(torch.cat([first, rest]), y)


def test_wrong_input_is_named() -> None:
    with pytest.raises(UserError, match="delay of at least 1 step, got 0"):
        sg.Loop(sg.LIF(5.0), sg.Linear(4, 4), delay=0)
    with pytest.raises(TypeError, match="whole number of steps, got True"):
        sg.Loop(sg.LIF(5.0), sg.Linear(4, 4), delay=True)
    with pytest.raises(UserError, match="layers in the body of Loop, got none"):
        sg.Loop([], sg.Linear(4, 4))
    with pytest.raises(UserError, match=r"input's shape \[3, 4\] in Loop, got \[3, 5\]"):
        sg.Loop(sg.LIF(5.0), sg.Linear(4, 5))(driven())
    loop = deep(2)
    with pytest.raises(UserError, match="LoopState with 2 steps of feedback, got tuple"):
        loop(driven(), (None, None))
    with pytest.raises(UserError, match="LoopState with 2 steps of feedback, got 3 steps"):
        loop(driven(), deep(3)(driven())[1])
    with pytest.raises(UserError, match="feedback of the input's shape"):
        loop(driven()[:, :2], loop(driven())[1])
    with pytest.raises(UserError, match="finite"):
        loop(driven() * float("nan"))
    with pytest.raises(TypeError, match="a tensor from the body of Loop, got tuple"):
        sg.Loop(sg.LIF(5.0, output="both"), sg.Linear(4, 4))(driven())


@pytest.mark.parametrize("delay", [1, 2])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_recording_with_lengths_is_that_of_each_sample_alone(delay: int, backend: str) -> None:
    torch.manual_seed(0)
    loop = sg.Sequential(sg.Loop([sg.LIF(10.0)], sg.Linear(3, 3), delay=delay)).double()
    sg.nn.use_backend(loop, backend)
    x, lengths = torch.rand(6, 3, 3, dtype=torch.float64) * 3, [3, 6, 4]
    x.requires_grad_()  # of the first step nothing else needs a gradient
    with sg.record(loop) as tapes:
        y, _ = loop(x, lengths=lengths)
    (tape,) = tapes.values()
    assert tape.lengths is not None
    assert tape.lengths.tolist() == lengths
    assert torch.equal(tape.spikes, y)
    assert tape.real.spikes.shape == (1, sum(lengths), 3)
    y.square().sum().backward()
    gradient = tape.current_gradient
    assert gradient is not None
    for k, n in enumerate(lengths):
        with sg.record(loop) as tapes:
            loop(x[:n, k : k + 1])[0].square().sum().backward()
        (alone,) = tapes.values()
        assert alone.current_gradient is not None
        torch.testing.assert_close(alone.current_gradient[:, 0], gradient[:n, k])
        assert bool(gradient[:n, k].any())
        for name in ("spikes", "membrane", "current"):
            one, whole = getattr(alone, name)[:, 0], getattr(tape, name)
            torch.testing.assert_close(one, whole[:n, k])
            assert not whole[n:, k].any()
    flow = sg.diagnose.gradient_flow(loop, x, loss=lambda y, lengths: y.sum(), lengths=lengths)
    assert flow.layers[0].reached
    assert 0 < sg.diagnose.firing_rates(loop, x, lengths=lengths)["0.body.0"] < 1
    batch = (torch.rand(2, 4, 3), torch.tensor([0, 1]), torch.tensor([4, 2]))
    sg.fit(loop.float(), [batch], sequence=True, epochs=1, progress=False)
