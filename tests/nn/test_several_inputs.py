"""Feedback of neurons with several inputs: the reference, layers, errors."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import spikegrad as sg
from spikegrad import functional as F
from spikegrad import kernels
from spikegrad.nn.base import use_backend

F64 = torch.float64
N = 5


def layer(**how: Any) -> sg.Recurrent:
    """Two synapses fed back, with the same weights at each call."""
    torch.manual_seed(0)
    made = sg.Recurrent(sg.SynapticLIF(threshold=0.5, learn=("tau_ampa", "tau_gaba")), N, **how)
    return made.double()


def by_hand(one: sg.Recurrent, x: Tensor) -> Tensor:
    """The recursion of the docstrings, written out."""
    neuron, weight = one.neuron, one.connection.weight
    to_ampa, to_gaba = weight[:N], weight[N:]
    beta, ampa, gaba = neuron.beta(), neuron.alpha_ampa(), neuron.alpha_gaba()
    i = j = v = s = x.new_zeros(x.shape[1], N)
    found = []
    for x_t in x:
        i = ampa * i + x_t[:, 0] + s @ to_ampa.T
        j = gaba * j + x_t[:, 1] + s @ to_gaba.T
        u = beta * v + i - j
        s = sg.surrogate.spike(u - neuron.threshold(), neuron.surrogate)
        v = u - s.detach() * neuron.threshold()
        found.append(s)
    return torch.stack(found)


def currents(steps: int = 30, batch: int = 3) -> Tensor:
    """Excitation and less inhibition, `[T, B, 2, N]`."""
    source = torch.Generator().manual_seed(1)
    x = torch.rand(steps, batch, 2, N, generator=source, dtype=F64) * 0.2
    return x * torch.tensor([1.0, 0.3], dtype=F64)[:, None]


@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_it_is_the_recursion_written_out(backend: str) -> None:
    one, found = layer(), []
    use_backend(one, backend)
    for run in (lambda x: one(x)[0], partial(by_hand, one)):
        one.zero_grad()
        x = currents().requires_grad_()
        y = run(x)
        (y * torch.arange(y.numel(), dtype=F64).reshape(y.shape).cos()).sum().backward()
        found.append([y.detach(), x.grad, *(p.grad.clone() for p in one.parameters())])
    assert 0.05 < found[0][0].mean() < 0.6
    assert torch.equal(found[0][0], found[1][0])
    for ours, hand in zip(*found, strict=True):
        torch.testing.assert_close(ours, hand, rtol=1e-9, atol=1e-9)


def test_chunks_a_trace_and_the_functional_form() -> None:
    one, x = layer(), currents()
    whole, end = one(x)
    first, state = one(x[:13])
    second, after = one(x[13:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert after.s.shape == (3, N)
    assert after.neuron.i_gaba.shape == (3, N)
    for a, b in zip(end.neuron, after.neuron, strict=True):
        assert a is b is None or torch.equal(a, b)
    weight = one.connection.weight
    s, _, trace = F.recurrent(x, weight=weight, neuron=one.neuron.bound(), trace=True)
    assert torch.equal(s, whole)
    assert trace.current.shape == x.shape
    assert trace.membrane.shape == whole.shape
    with sg.record(one) as tapes:
        one(x)
    assert torch.equal(tapes["neuron"].membrane, trace.membrane)


def test_delays_of_0_are_none() -> None:
    one, x = layer(), currents()
    later = sg.DelayedLinear(N, 2 * N, bias=False, most=3.0, delays=0.0).double()
    with torch.no_grad():
        later.weight.copy_(one.connection.weight)
    same, state = sg.Recurrent(one.neuron, connection=later)(x)
    assert torch.equal(same, one(x)[0])
    assert state.current.shape == (3, 4, 2 * N)


def test_the_bias_of_the_connection_reaches_its_input() -> None:
    torch.manual_seed(0)
    one = sg.Recurrent(sg.SynapticLIF(), connection=sg.Linear(N, 2 * N))
    with torch.no_grad():
        one.connection.weight.zero_()
        one.connection.bias.copy_(torch.arange(2.0 * N))
    _, state = one(torch.zeros(1, 2, 2, N))
    assert state.neuron.i_ampa[0].tolist() == list(range(N))
    assert state.neuron.i_gaba[0].tolist() == list(range(N, 2 * N))


@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_what_does_not_fit_is_named(backend: str) -> None:
    with pytest.raises(sg.UserError, match=r"from N to 2 N currents: ampa, gaba of N neurons, got"):
        sg.Recurrent(sg.SynapticLIF(), connection=sg.Linear(N, N))
    with pytest.raises(sg.UserError, match="from N to N neurons, got 5 to 10"):
        sg.Recurrent(sg.LIF(20.0), connection=sg.Linear(N, 2 * N))
    one = sg.Recurrent(sg.SynapticLIF(backend=backend), N)
    for shape in ((4, 2, N), (4, 2, 3, N)):
        with pytest.raises(sg.UserError, match=r"inputs ampa, gaba, \[T, B, 2, \*features\]"):
            one(torch.rand(shape))
    with pytest.raises(sg.UserError, match=r"\[inputs N, N\].*use a feedback weight \[8, 4\]"):
        one(torch.rand(4, 2, 2, 4))
    with pytest.raises(sg.UserError, match=r"x \[T, B, N\] and a feedback weight \[N, N\]"):
        sg.Recurrent(sg.LIF(20.0, backend=backend), N)(torch.rand(4, 2, 2, N))
    with pytest.raises(sg.UserError, match=r"of shape \[2, 5\], got \[3, 5\]"):
        one(torch.rand(4, 2, 2, N), one(torch.rand(4, 3, 2, N))[1])


@pytest.mark.parametrize("run", [F.recurrent, kernels.recurrent])
def test_a_neuron_that_takes_the_inputs_as_features(run: Any) -> None:
    neuron = partial(kernels.lif if run is kernels.recurrent else F.lif, beta=0.5)
    with pytest.raises(sg.UserError, match=r"neuron that returns \[2, 5\]|\[T, B, N\] and a feed"):
        run(torch.rand(4, 2, 2, N), weight=torch.zeros(2 * N, N), neuron=neuron)
