"""A network as a function of one step: the whole sequence, state in and out, what it refuses."""

from __future__ import annotations

import copy
import gc
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikegrad as sg
from spikegrad.nn.streaming import Native


def dyadic(network: nn.Module) -> nn.Module:
    """Weights whose sums are exact, so that their order does not matter."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_((p * 64).round() / 64 + (1 / 32 if p.dim() == 2 else 0))
    return network.eval()


def plain(**neuron: Any) -> sg.Sequential:
    torch.manual_seed(0)
    return sg.Sequential(
        sg.Linear(6, 16), sg.LIF(beta=0.5, **neuron), sg.Linear(16, 8, bias=False),
        sg.IF(**neuron), sg.Linear(8, 3), sg.LI(beta=0.5),
    )  # fmt: skip


def spikes(steps: int = 20, batch: int = 1, features: int = 6) -> Tensor:
    drawn = torch.rand(steps, batch, features, generator=torch.Generator().manual_seed(1))
    return (drawn < 0.6).float() * 8


NETWORKS = {
    "subtract": plain,
    "zero": lambda: plain(reset="zero", v_reset=-0.25),
    "none": lambda: plain(reset="none"),
    "rest": lambda: sg.Sequential(
        sg.Linear(6, 8), sg.LIF(beta=0.5, v_rest=-0.5, threshold=0.5), sg.nn.Flatten()
    ),
    "leak": lambda: sg.Sequential(sg.Linear(6, 8), sg.LIF(beta=0.5, gain="leak")),
    "refractory": lambda: plain(refractory=2.0),
    "per neuron": lambda: sg.Sequential(
        sg.Linear(6, 8), sg.LIF(beta=0.5, threshold=torch.linspace(1, 2, 8))
    ),
    "feedback": lambda: sg.Sequential(sg.Linear(6, 8), sg.Recurrent(sg.LIF(beta=0.5), 8)),
    "others": lambda: sg.Sequential(
        sg.Linear(6, 8), sg.ALIF(beta=0.5, rho=0.5), sg.Linear(8, 70), sg.AdEx(), sg.Linear(70, 5)
    ),
    "next to each other": lambda: sg.Sequential(
        sg.Linear(6, 8), sg.LIF(beta=0.5), sg.LIF(beta=0.5)
    ),
    "module": lambda: sg.Residual([sg.Linear(6, 6), sg.LIF(beta=0.5)]),
    "neurons": lambda: sg.LIF(beta=0.5),
}
NATIVE = {*NETWORKS} - {"module", "neurons", "next to each other"}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_steps_equal_the_whole_sequence(name: str, batch: int) -> None:
    network, x = dyadic(NETWORKS[name]()), spikes(batch=batch)
    step = sg.stream(network, batch=batch)
    assert isinstance(step.steps, Native) == (name in NATIVE)
    with torch.no_grad():
        whole, ends = network(x)
    got = torch.stack([step(part) for part in x])
    assert whole.abs().sum() > 0
    if name in ("others", "feedback"):  # decays that are no dyadic numbers, random weights
        assert torch.allclose(got, whole, atol=1e-5)
        return
    assert torch.equal(got, whole)
    flat = torch.utils._pytree.tree_leaves
    for mine, other in zip(flat(step.state), flat(ends), strict=True):
        assert mine is other is None or torch.equal(mine, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("real", [False, True])
def test_wide_batches_real_inputs_and_feedback(real: bool, dtype: torch.dtype) -> None:
    """More samples and neurons than a tile has, in the order of sums of the whole sequence."""
    torch.manual_seed(2)
    network = sg.Sequential(
        sg.Linear(130, 70), sg.Recurrent(sg.LIF(4.0), 70), sg.Linear(70, 65),
        sg.LIF(4.0, learn=("tau_mem", "threshold"), size=65), sg.Linear(65, 3),
    ).to(dtype)  # fmt: skip
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(2 if p.dim() == 2 else 1)
    x = (torch.rand(12, 67, 130) < 0.1).to(dtype)
    x = x * torch.randn(x.shape, dtype=dtype) if real else x
    step = sg.stream(network, batch=67)
    assert isinstance(step.steps, Native)
    with torch.no_grad():
        whole, ends = network(x)
    got = torch.stack([step(part) for part in x])
    assert torch.allclose(got, whole, atol=1e-4 if dtype == torch.float32 else 1e-12)
    assert torch.equal(step.state[1].s, ends[1].s)
    assert 0.02 < ends[1].s.mean() < 0.9
    half = sg.stream(network, batch=67)
    with torch.no_grad():
        half.state = network(x[:6])[1]
    assert torch.equal(torch.stack([half(part) for part in x[6:]]), got[6:])


@pytest.mark.parametrize("name", ["subtract", "feedback", "module"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda step: pickle.loads(pickle.dumps(step))])
def test_a_copy_goes_on_by_itself(name: str, copied: Any) -> None:
    network = sg.Recurrent(sg.LIF(beta=0.5), 6) if name == "module" else NETWORKS[name]()
    step, x = sg.stream(dyadic(network)), spikes()
    for part in x[:9]:
        step(part)
    other = copied(step)
    assert type(other.steps) is type(step.steps)
    mine = [step(part) for part in x[9:]]
    assert all(torch.equal(other(a), b) for a, b in zip(x[9:], mine, strict=True))


def test_a_stream_frees_its_memory() -> None:
    network = sg.Sequential(sg.Linear(300, 512), sg.LIF(4.0))
    sg.stream(network)
    live = torch.ops.spikegrad.pool_bytes()[0]
    step = sg.stream(network)
    assert torch.ops.spikegrad.pool_bytes()[0] > live
    del step
    gc.collect()
    assert torch.ops.spikegrad.pool_bytes()[0] == live


@pytest.mark.parametrize("name", ["subtract", "refractory", "module"])
def test_the_state_is_a_value(name: str) -> None:
    network, x = dyadic(NETWORKS[name]()), spikes()
    step = sg.stream(network)
    assert step.state is None
    first = [step(part) for part in x[:9]]
    kept = step.state
    rest = [step(part) for part in x[9:]]
    other = sg.stream(network)
    other.state = kept
    for got, want in zip((other(part) for part in x[9:]), rest, strict=True):
        assert torch.equal(got, want)
    with torch.no_grad():  # the network goes on from the same value
        y, _ = network(x[9:], kept)
    assert torch.equal(y, torch.stack(rest))
    step.reset()
    assert step.state is None
    assert all(torch.equal(step(a), b) for a, b in zip(x, first, strict=False))


def test_an_output_stays_as_it_was() -> None:
    step = sg.stream(dyadic(plain()))
    first = step(spikes()[0])
    copy = first.clone()
    step(spikes()[1])
    assert torch.equal(first, copy)


def test_what_a_stream_refuses() -> None:
    network = dyadic(plain())
    step = sg.stream(network)
    with pytest.raises(sg.UserError, match=r"\[B, \*features\] with B = 1"):
        step(torch.ones(6))
    with pytest.raises(sg.UserError, match=r"Linear's input as \[T, B, 6\]"):
        step(torch.ones(1, 7))
    with pytest.raises(sg.UserError, match="finite"):
        step(torch.full((1, 6), float("nan")))
    with pytest.raises(TypeError, match=r"returns \(y, states\)"):
        sg.stream(nn.Linear(2, 2))
    with pytest.raises(sg.UserError, match="batch >= 1"):
        sg.stream(network, batch=0)
    with pytest.raises(TypeError, match="batch as a whole number"):
        sg.stream(network, batch=1.5)  # type: ignore[arg-type]
    dropped = sg.Sequential(sg.Linear(6, 8), sg.LIF(5.0), sg.Dropout(0.5))
    with pytest.raises(sg.UserError, match="eval"):
        sg.stream(dropped)
    sg.stream(dropped.eval())(torch.ones(1, 6))
    with torch.no_grad():
        network[0].weight.add_(1.0)
    with pytest.raises(sg.UserError, match="make a new stream"):
        step(torch.ones(1, 6))


def test_several_outputs_are_a_step_each() -> None:
    network = sg.Sequential(sg.Linear(6, 8), sg.LIF(10.0, output="both")).eval()
    s, u = sg.stream(network)(torch.ones(1, 6))
    assert s.shape == u.shape == (1, 8)


def test_a_recorded_stream_is_recorded() -> None:
    network = dyadic(plain())
    step = sg.stream(network)
    with sg.record(network) as tapes:
        step(spikes()[0])
        step(spikes()[1])
    assert tapes["1"].spikes.shape == (2, 1, 16)


def test_autocast_is_the_networks() -> None:
    network, x = dyadic(plain()), spikes()[0]
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        want, _ = network(x[None])
        assert torch.equal(sg.stream(network)(x), want[0])


def test_a_state_that_does_not_fit_is_refused() -> None:
    network = dyadic(plain())
    step = sg.stream(network)
    step(spikes()[0])
    good = step.state
    other = sg.types.LIState(torch.zeros(1, 16))
    for bad, says in [
        (good[:3], "expected 6 states"),
        ((good[1], *good[1:]), "stateless Linear"),
        ((None, other, *good[2:]), "LIFState"),
        ((None, sg.types.LIFState(torch.zeros(1, 7)), *good[2:]), r"\[1, 7\]"),
        ((None, sg.types.LIFState(torch.full((1, 16), float("nan"))), *good[2:]), "finite"),
    ]:
        with pytest.raises((sg.UserError, TypeError), match=says):
            step.state = bad
    assert torch.equal(step.state[1].v, good[1].v)


def test_a_network_put_into_training_later_is_refused() -> None:
    network = sg.Sequential(sg.Linear(6, 8), sg.LIF(5.0), sg.Dropout(0.5)).eval()
    step = sg.stream(network)
    network.train()
    with pytest.raises(sg.UserError, match="eval"):
        step(torch.ones(1, 6))


def test_another_parameter_or_layer_is_an_error() -> None:
    made = sg.Sequential(sg.Linear(4, 6), sg.LI(10.0))
    x = torch.rand(1, 4)

    def another_weight() -> None:
        made[0].weight = nn.Parameter(made[0].weight.detach() * 100)

    def another_layer() -> None:
        made[0] = sg.Linear(4, 6)

    def assigned() -> None:
        weights = {name: value.clone() for name, value in made.state_dict().items()}
        made.load_state_dict(weights, assign=True)

    for change in (another_weight, another_layer, assigned):
        step = sg.stream(made)
        step(x)
        change()
        with pytest.raises(sg.UserError, match="make a new stream"):
            step(x)
