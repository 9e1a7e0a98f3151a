"""Connections with delays: against loops over spikes, a convolution over time, and gradcheck."""

from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
import torch
from torch import Tensor

from spikegrad import functional as F
from spikegrad.errors import UserError
from spikegrad.functional.taps import gaussian_taps, integer_taps, interpolated_taps
from spikegrad.nn.connectivity import connect
from spikegrad.surrogate import arctan
from spikegrad.types import DelayedFeedbackState, PendingState, Taps

MOST = 4


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(x: Tensor, taps: Taps, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Spike by spike, synapse by synapse, tap by tap; and what is left behind the end."""
    steps, batch, inputs = x.shape
    outputs, _, count = taps.values.shape
    total = torch.zeros(steps + taps.most, batch, outputs, dtype=x.dtype)
    for t, b, j, o, k in itertools.product(*map(range, (steps, batch, inputs, outputs, count))):
        arrives = t + int(taps.first.expand(outputs, inputs)[o, j]) + k
        total[arrives, b, o] += taps.values[o, j, k] * x[t, b, j]
    return total[:steps] + bias, total[steps:].transpose(0, 1)


def all_taps(weight: Tensor, delay: Tensor) -> dict[str, Taps]:
    return {
        "integer": integer_taps(weight, delay, most=MOST),
        "per input": integer_taps(weight, delay[0], most=MOST),
        "one": integer_taps(weight, delay.mean(), most=MOST),
        "interpolation": interpolated_taps(weight, delay, most=MOST),
        "interpolation per input": interpolated_taps(weight, delay[0], most=MOST),
        "one interpolation": interpolated_taps(weight, delay.mean(), most=MOST),
        "gaussian": gaussian_taps(weight, delay, most=MOST, sigma=0.4),
        "gaussian per input": gaussian_taps(weight, delay[0], most=MOST, sigma=0.4),
        "one gaussian": gaussian_taps(weight, delay.mean(), most=MOST, sigma=0.4),
    }


@pytest.mark.parametrize("kind", list(all_taps(torch.ones(1, 1), torch.ones(1, 1))))
@pytest.mark.parametrize("steps", [1, 3, 9])
def test_currents_are_those_of_a_loop_over_spikes(kind: str, steps: int) -> None:
    weight, delay, bias = drawn(2, 3), drawn(2, 3, seed=1) * MOST, drawn(2, seed=2)
    taps, x = all_taps(weight, delay)[kind], drawn(steps, 2, 3, seed=3).round()
    y, state = F.delayed_linear(x, taps=taps, bias=bias)
    want, left = by_hand(x, taps, bias)
    assert torch.allclose(y, want, atol=1e-14)
    assert torch.allclose(state.current, left, atol=1e-14)
    assert float(left.abs().sum()) > 0


@pytest.mark.parametrize("kind", ["interpolation", "gaussian"])
def test_currents_and_gradients_are_those_of_a_convolution_over_time(kind: str) -> None:
    x = drawn(9, 2, 3).round()
    leaves = [drawn(2, 3, seed=1), drawn(2, 3, seed=2) * MOST]
    place = torch.arange(MOST, -1, -1, dtype=torch.float64)
    found = []
    for dense in (False, True):
        weight, delay = (leaf.clone().requires_grad_() for leaf in leaves)
        if dense:
            away = place - delay.unsqueeze(-1)
            if kind == "interpolation":
                shares = (1 - away.abs()).clamp(min=0)
            else:
                shares = torch.exp(-0.5 * (away / 2.0).square())
                shares = shares / shares.sum(-1, keepdim=True)
            padded = torch.nn.functional.pad(x.permute(1, 2, 0), (MOST, 0))
            kernel = weight.unsqueeze(-1) * shares
            y = torch.nn.functional.conv1d(padded, kernel).permute(2, 0, 1)
        elif kind == "interpolation":
            y, _ = F.delayed_linear(x, taps=interpolated_taps(weight, delay, most=MOST))
        else:  # so wide that every tap counts
            taps = gaussian_taps(weight, delay, most=MOST, sigma=2.0)
            y, _ = F.delayed_linear(x, taps=taps)
        found.append([y, *torch.autograd.grad(y.square().sum(), (weight, delay))])
    for ours, want in zip(*found, strict=True):
        assert torch.allclose(ours, want, atol=1e-12)
    assert float(found[1][2].abs().min()) > 0


@pytest.mark.parametrize("kind", ["interpolation", "gaussian"])
def test_every_gradient(kind: str) -> None:
    def run(x: Tensor, weight: Tensor, delay: Tensor, bias: Tensor, current: Tensor) -> Tensor:
        make = interpolated_taps if kind == "interpolation" else gaussian_taps
        how = {} if kind == "interpolation" else {"sigma": 0.3}
        taps = make(weight, delay, most=MOST, **how)
        y, state = F.delayed_linear(x, PendingState(current), taps=taps, bias=bias)
        return torch.cat([y.flatten(), state.current.flatten()])

    delay = 0.1 + 0.8 * drawn(2, 3, seed=2) + torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 1.0]])
    leaves = (drawn(3, 2, 3), drawn(2, 3, seed=1), delay, drawn(2, seed=3), drawn(2, MOST, 2))
    for leaf in leaves:
        leaf.requires_grad_()
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


def test_the_gradient_by_delay_is_the_difference_of_neighbours() -> None:
    weight, delay = torch.tensor([[3.0]]), torch.tensor([[1.25]], requires_grad=True)
    x = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(4, 1, 1)
    y, _ = F.delayed_linear(x, taps=interpolated_taps(weight, delay, most=3))
    assert y.flatten().tolist() == [0.0, 2.25, 0.75, 0.0]
    g = torch.tensor([7.0, 5.0, 11.0, 2.0]).reshape(4, 1, 1)
    (slope,) = torch.autograd.grad(y, delay, g)
    assert slope.item() == 3.0 * (11.0 - 5.0)


def test_whole_delays_are_one_tap_and_the_longest_delay_is_reached() -> None:
    x = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(4, 1, 1)
    for delay in range(4):
        at = torch.tensor([[float(delay)]])
        for make in (integer_taps, interpolated_taps):
            y, _ = F.delayed_linear(x, taps=make(torch.ones(1, 1), at, most=3))
            assert y.flatten().tolist() == [float(t == delay) for t in range(4)]


def test_a_narrow_gaussian_is_its_delay_rounded() -> None:
    weight, delay = drawn(5, 6), 0.05 + drawn(5, 6, seed=1) * (MOST - 0.1)
    delay = torch.where((delay % 1 - 0.5).abs() < 0.05, delay + 0.1, delay)
    taps, x = gaussian_taps(weight, delay, most=MOST, sigma=0.01), drawn(9, 2, 6).round()
    y, _ = F.delayed_linear(x, taps=taps)
    want, _ = F.delayed_linear(x, taps=integer_taps(weight, delay, most=MOST))
    assert torch.allclose(y, want, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 50.0])
def test_taps_of_a_gaussian_sum_up_to_the_weight(sigma: float) -> None:
    weight, delay = drawn(4, 5), drawn(4, 5, seed=1) * 20
    taps = gaussian_taps(weight, delay, most=20, sigma=sigma)
    assert torch.allclose(taps.values.sum(-1), weight)
    assert taps.values.shape[-1] == min(21, 2 * math.ceil(3 * sigma + 0.5) + 1)
    mean = ((taps.first.unsqueeze(-1) + torch.arange(taps.values.shape[-1])) * taps.values).sum(-1)
    inner = (delay > 3 * sigma + 1) & (delay < 19 - 3 * sigma)
    assert torch.allclose((mean / weight)[inner], delay[inner], atol=5e-2)
    assert bool(inner.any()) == (sigma < 3)


@pytest.mark.parametrize("cuts", [(1,), (4, 5), (1, 2, 3, 4, 5, 6, 7, 8)])
def test_chunks_are_the_whole(cuts: tuple[int, ...]) -> None:
    weight, delay = (drawn(3, 5) * 8).round() / 8, (drawn(3, 5, seed=1) * 4 * MOST).round() / 4
    taps, x = interpolated_taps(weight, delay, most=MOST), drawn(9, 2, 5, seed=2).round()
    whole, end = F.delayed_linear(x, taps=taps)
    state, parts = None, []
    for part in torch.tensor_split(x, cuts):
        y, state = F.delayed_linear(part, state, taps=taps)
        parts.append(y)
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(state.current, end.current)


def test_edges_are_the_dense_connection_with_zeros() -> None:
    mask = drawn(3, 5) < 0.5
    edges = connect(mask, 5, 3).edges
    weight, delay, x = drawn(3, 5, seed=1) * mask, drawn(3, 5, seed=2) * MOST, drawn(9, 2, 5)
    own = edges.targets.long(), edges.sources()
    sparse = interpolated_taps(weight[own], delay[own], most=MOST)
    dense = interpolated_taps(weight, delay, most=MOST)
    got = F.delayed_linear(x, taps=sparse, edges=edges)
    want = F.delayed_linear(x, taps=dense)
    assert torch.allclose(got[0], want[0])
    assert torch.allclose(got[1].current, want[1].current)


def test_under_torch_func() -> None:
    weight, delay, x = drawn(2, 3), drawn(2, 3, seed=1) * MOST, drawn(5, 4, 3)

    def loss(delay: Tensor, x: Tensor) -> Tensor:
        taps = interpolated_taps(weight, delay, most=MOST)
        return F.delayed_linear(x.unsqueeze(1), taps=taps)[0].square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 1))(delay, x)
    own = delay.clone().requires_grad_()
    for b in range(4):
        (want,) = torch.autograd.grad(loss(own, x[:, b]), own)
        assert torch.allclose(each[b], want)


@pytest.mark.parametrize("wrong", [-0.5, 4.5, math.nan, math.inf])
def test_delays_out_of_range(wrong: float) -> None:
    delay = torch.tensor([[1.0, wrong]])
    for make in (
        integer_taps,
        interpolated_taps,
        lambda *a, **k: gaussian_taps(*a, **k, sigma=1.0),
    ):
        with pytest.raises(UserError, match=r"expected delays in \[0, 4\] steps, got"):
            make(torch.ones(1, 2), delay, most=MOST)


def test_taps_and_states_that_do_not_fit() -> None:
    x, weight = torch.ones(3, 2, 3), torch.ones(2, 3)
    first = torch.full((2, 3), 4, dtype=torch.int32)
    with pytest.raises(
        UserError, match=r"expected taps within \[0, 4\] steps, got taps from 4 to 5"
    ):
        F.delayed_linear(x, taps=Taps(first, weight.unsqueeze(-1).expand(2, 3, 2), 4))
    taps = integer_taps(weight, torch.ones(2, 3), most=4)
    with pytest.raises(
        UserError, match=r"expected state.current of shape \[2, 4, 2\], got \[2, 3, 2\]"
    ):
        F.delayed_linear(x, PendingState(torch.zeros(2, 3, 2)), taps=taps)
    with pytest.raises(TypeError, match="expected a PendingState or None, got Tensor"):
        F.delayed_linear(x, torch.zeros(2, 4, 2), taps=taps)
    with pytest.raises(UserError, match="expected a finite sigma > 0 steps"):
        gaussian_taps(weight, torch.ones(2, 3), most=4, sigma=0.0)


def feedback_taps(kind: str, weight: Tensor, delay: Tensor) -> Taps:
    if kind == "at least 2":
        return integer_taps(weight, delay.clamp(min=2), most=MOST)
    return all_taps(weight, delay)[kind]


def fed_back_by_hand(x: Tensor, taps: Taps, beta: float) -> Tensor:
    """LIF neurons with feedback, synapse by synapse and tap by tap."""
    steps, batch, n = x.shape
    total = torch.cat([x, x.new_zeros(MOST + 1, batch, n)])
    u, spikes = x.new_zeros(batch, n), []
    for t in range(steps):
        u = beta * u + total[t]
        s = (u >= 1.0).to(x.dtype)
        u = u - s
        for o, j, k in itertools.product(range(n), range(n), range(taps.values.shape[-1])):
            arrives = t + 1 + int(taps.first.expand(n, n)[o, j]) + k
            total[arrives, :, o] += taps.values[o, j, k] * s[:, j]
        spikes.append(s)
    return torch.stack(spikes)


@pytest.mark.parametrize("kind", ["integer", "at least 2", "one", "interpolation", "gaussian"])
def test_feedback_is_that_of_a_loop_over_spikes(kind: str) -> None:
    weight, delay = drawn(4, 4) - 0.3, drawn(4, 4, seed=1) * MOST
    taps, x = feedback_taps(kind, weight, delay), drawn(14, 2, 4, seed=2)
    neuron = partial(F.lif, beta=0.5)
    s, state = F.delayed_recurrent(x, taps=taps, neuron=neuron)
    assert torch.equal(s, fed_back_by_hand(x, taps, 0.5))
    assert 0.05 < float(s.mean()) < 0.95
    alone, _ = F.lif(x, beta=0.5)
    assert not torch.equal(alone, s)
    first, between = F.delayed_recurrent(x[:5], taps=taps, neuron=neuron)
    second, end = F.delayed_recurrent(x[5:], between, taps=taps, neuron=neuron)
    assert torch.equal(torch.cat([first, second]), s)
    assert torch.allclose(end.current, state.current)


def test_without_a_delay_feedback_is_the_ordinary_one() -> None:
    weight, x = drawn(4, 4) - 0.3, drawn(14, 2, 4, seed=2)
    taps = integer_taps(weight, torch.zeros(4, 4), most=1)
    neuron = partial(F.lif, beta=0.5)
    s, _ = F.delayed_recurrent(x, taps=taps, neuron=neuron)
    assert torch.equal(s, F.recurrent(x, weight=weight, neuron=neuron)[0])


def test_every_gradient_of_feedback() -> None:
    neuron = partial(F.lif, beta=0.5, surrogate=arctan(2.0).soft(), detach_reset=False)

    def run(x: Tensor, weight: Tensor, delay: Tensor, current: Tensor) -> Tensor:
        taps = interpolated_taps(weight, delay, most=MOST)
        state = DelayedFeedbackState(None, current)
        y, after = F.delayed_recurrent(x, state, taps=taps, neuron=neuron)
        return torch.cat([y.flatten(), after.current.flatten(), after.neuron.v.flatten()])

    delay = torch.tensor([[0.3, 1.4], [2.6, 3.7]], dtype=torch.float64)
    leaves = (drawn(6, 2, 2), drawn(2, 2, seed=1), delay, drawn(2, MOST + 1, 2, seed=3))
    for leaf in leaves:
        leaf.requires_grad_()
    assert torch.autograd.gradcheck(run, leaves)


def test_feedback_that_does_not_fit() -> None:
    neuron, x = partial(F.lif, beta=0.5), torch.ones(3, 2, 4)
    taps = integer_taps(torch.ones(3, 4), torch.ones(3, 4), most=2)
    with pytest.raises(UserError, match="one from 4 to 3"):
        F.delayed_recurrent(x, taps=taps, neuron=neuron)
    taps = integer_taps(torch.ones(4, 4), torch.ones(4, 4), most=2)
    with pytest.raises(
        TypeError, match="expected a DelayedFeedbackState or None, got PendingState"
    ):
        F.delayed_recurrent(x, PendingState(torch.zeros(2, 3, 4)), taps=taps, neuron=neuron)
    state = DelayedFeedbackState(None, torch.zeros(2, 2, 4))
    with pytest.raises(UserError, match=r"state.current of shape \[2, 3, 4\], got \[2, 2, 4\]"):
        F.delayed_recurrent(x, state, taps=taps, neuron=neuron)
