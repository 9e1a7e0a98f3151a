"""One step of few samples without gradients takes a short way: the reference's bits, or as ever."""

from __future__ import annotations

import copy

import pytest
import torch

import spikegrad as sg
from spikegrad.errors import UserError
from spikegrad.nn import single_step as room
from spikegrad.types import LIFState

NEURONS = {
    "lif": lambda: sg.LIF(20.0),
    "leak": lambda: sg.LIF(beta=0.8, gain="leak", threshold=0.3, v_rest=-0.2),
    "zero": lambda: sg.LIF(5.0, reset="zero", v_reset=-0.25, threshold=0.4),
    "none": lambda: sg.IF(reset="none", threshold=0.7),
    "learned": lambda: sg.LIF(5.0, learn=("threshold", "tau_mem", "slope")),
    "li": lambda: sg.LI(7.0),
    "unit": lambda: sg.LI(7.0, gain="unit"),
}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call took the short way."""
    from spikegrad.nn import sequential

    found: list[bool] = []

    def counted(*args):
        out = room.single_step(*args)
        found.append(out is not None)
        return out

    monkeypatch.setattr(sequential, "single_step", counted)
    return found


def network(kind: str, **words) -> sg.Sequential:
    torch.manual_seed(0)
    return sg.Sequential(
        sg.Flatten(), sg.Linear(9, 12), NEURONS[kind](), sg.Linear(12, 4), NEURONS[kind](), **words
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("kind", NEURONS)
def test_steps_equal_the_reference_bit_for_bit(steps, kind: str, batch: int, dtype) -> None:
    fast, slow = network(kind).to(dtype), network(kind, backend="reference").to(dtype)
    x = torch.rand(40, batch, 9, dtype=dtype) * 2
    states, want = None, None
    for t in range(40):
        with torch.no_grad() if t % 2 else torch.inference_mode():
            y, states = fast(x[t : t + 1], states)
            other, want = slow(x[t : t + 1], want)
        assert torch.equal(y, other)
        for a, b in zip(states, want, strict=True):
            assert (a is None) == (b is None)
            assert a is None or (type(a) is type(b) and torch.equal(a.v, b.v))
    assert steps == [True, False] * 40  # the reference by name is the reference's own code


def test_a_parameter_that_was_written_to_or_replaced_is_read_again(steps) -> None:
    net = network("learned")
    x = torch.rand(1, 2, 9) * 12  # neurons spike: their membranes follow every threshold
    with torch.no_grad():
        net(x)  # what is read here must not outlive the first change, which no version tells
    for change in (
        lambda: net[2].threshold.raw.data.fill_(-1.5),
        lambda: net[2].threshold.raw.add_(0.25),
        lambda: net.load_state_dict({k: v + 0.125 for k, v in net.state_dict().items()}),
        lambda: setattr(net[2], "v_rest", -0.5),
        lambda: setattr(net[2], "reset", "zero"),
        lambda: net[2].decay_mem.quantity.register_parameter("raw", torch.nn.Parameter(x.mean())),
        lambda: net.double(),
    ):
        with torch.no_grad():
            change()
            given = x.to(net[1].weight.dtype)
            y, states = net(given)
            want, after = copy.deepcopy(net).requires_grad_(False)(given.requires_grad_())
        assert torch.equal(y, want)
        assert torch.equal(states[2].v, after[2].v)
        with torch.enable_grad():  # another way to the same numbers
            again, states = net(given.detach())
        torch.testing.assert_close(y, again.detach())
        torch.testing.assert_close(after[2].v, states[2].v.detach())


def test_what_it_does_not_know_runs_as_ever(steps) -> None:
    x = torch.rand(1, 2, 9)
    with torch.no_grad():
        network("lif")(x.expand(2, 2, 9))  # two steps
        network("lif")(torch.rand(1, 33, 9))  # many samples
        sg.Sequential(sg.LIF(5.0, refractory=2.0))(x)
        sg.Sequential(sg.LIF(5.0, threshold=torch.ones(9)))(x)
        sg.Sequential(sg.LIF(5.0, surrogate=sg.surrogate.arctan(2.0).soft()))(x)
        sg.Sequential(sg.Linear(9, 3), sg.ALIF(5.0, 9.0))(x)
        hooked, heard = network("lif"), []
        hooked[1].register_forward_hook(lambda *args: heard.append(1))
        hooked(x)
        taped = network("lif")
        with sg.record(taped) as tapes:
            taped(x)
    assert heard == [1]
    assert tapes["2"].membrane.shape == (1, 2, 12)
    assert steps == [False] * 8
    network("lif")(x)
    assert len(steps) == 8  # with gradients nobody asks


def test_what_is_wrong_is_still_named() -> None:
    net, x = network("lif"), torch.rand(1, 2, 9)
    bad = x.clone()
    bad[0, 1, 3] = float("nan")
    with torch.no_grad():
        with pytest.raises(UserError, match="1 of 18 values NaN or infinite"):
            net(bad)
        _, states = net(x)
        with pytest.raises(UserError, match=r"states.2.v to be finite"):
            net(x, (None, None, LIFState(states[2].v * float("inf")), None, None))
        with pytest.raises(UserError, match=r"shape \[2, 12\]"):
            net(x, (None, None, LIFState(torch.zeros(3, 12)), None, None))
        with pytest.raises(UserError, match=r"\[T, B, 9\], got \[1, 2, 8\]"):
            net(x[..., :8])
        with pytest.raises(UserError, match="None as the state of the stateless Linear"):
            net(x, (None, states[2], None, None, None))
        with pytest.raises(TypeError, match=r"dtype torch.float32"):
            net(x.double())
