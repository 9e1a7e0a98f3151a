"""Learned quantities stay valid, move, come back, and are left alone by weight decay."""

from __future__ import annotations

import math

import pytest
import torch

from spikegrad import ALIF, CUBALIF, IF, LI, LIF, Linear, Recurrent, Sequential, Spiking
from spikegrad.errors import UserError
from spikegrad.nn import Decay, Quantity, no_decay
from spikegrad.surrogate import arctan


@pytest.mark.parametrize(("low", "high"), [(0.5, 2.0), (0.0, None), (None, None)])
def test_start_is_the_value_given(low: float | None, high: float | None) -> None:
    for value in (0.7, torch.tensor([0.6, 1.0, 1.9])):
        q = Quantity(value, learn=True, low=low, high=high)
        torch.testing.assert_close(q(), torch.as_tensor(value, dtype=torch.float32))


def test_bounds_hold_far_out_and_the_gradient_does_not_vanish() -> None:
    """At r = 1000 a sigmoid's gradient is exactly 0; these are of order 1/r^2."""
    for high in (2.0, None):
        q = Quantity(1.0, learn=True, low=0.5, high=high).double()
        for r in (-1000.0, 1000.0):
            q.raw.data.fill_(r)
            value = q()
            (gradient,) = torch.autograd.grad(value, q.raw)
            assert value > 0.5
            assert high is None or value < high
            assert gradient > 1e-8
    assert torch.sigmoid(torch.tensor(-1000.0)).item() == 0.0


def test_a_threshold_at_its_bound_comes_back() -> None:
    q = Quantity(1.0, learn=True, low=0.5, high=2.0)
    optimizer = torch.optim.Adam(q.parameters(), lr=0.1)
    for target in (0.0, 1.5):
        for _ in range(500):
            optimizer.zero_grad()
            ((q() - target) ** 2).backward()
            optimizer.step()
    assert q().item() == pytest.approx(1.5, abs=0.01)


def test_starts_outside_the_bounds_are_refused() -> None:
    for value in (0.5, 2.0, 3.0):
        with pytest.raises(UserError, match=r"inside \(0\.5, 2\.0\)"):
            Quantity(value, learn=True, low=0.5, high=2.0)
    with pytest.raises(UserError, match="finite"):
        Quantity(float("nan"))
    with pytest.raises(UserError, match=r"shape \[4\]"):
        Quantity(torch.ones(3), size=4)


def test_decay_from_tau_and_from_beta() -> None:
    assert Decay(beta=0.5)().item() == 0.5
    assert Decay(10.0, dt=0.5)().item() == pytest.approx(math.exp(-0.05))
    assert Decay(10.0, integration="euler")().item() == pytest.approx(0.9)
    assert Decay(beta=0.9, learn=True)().item() == pytest.approx(0.9)
    assert Decay(beta=0.9, learn=True, integration="euler")().item() == pytest.approx(0.9)
    for d in (Decay(beta=0.9), Decay(beta=0.9, learn=True)):
        assert d.tau().item() == pytest.approx(-1 / math.log(0.9), rel=1e-5)


@pytest.mark.parametrize("integration", ["exponential", "euler"])
def test_a_learned_time_constant_stays_valid(integration: str) -> None:
    d = Decay(5.0, learn=True, integration=integration)
    optimizer = torch.optim.SGD(d.parameters(), lr=100.0)
    for sign in (1.0, -1.0):
        for _ in range(50):
            optimizer.zero_grad()
            (sign * d()).backward()
            optimizer.step()
            assert 0.0 <= d().item() < 1.0
            assert d.tau().item() > (1.0 if integration == "euler" else 0.0) - 1e-6


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LIF(), "either tau_mem or beta, got none"),
        (lambda: LIF(10.0, beta=0.9), "either tau_mem or beta, got both"),
        (lambda: LIF(0.0), "tau_mem > 0 ms"),
        (lambda: LIF(-1.0), "tau_mem > 0 ms"),
        (lambda: LIF(torch.tensor([5.0, -1.0])), "tau_mem > 0 ms, got a minimum of -1"),
        (lambda: LIF(10.0, dt=0.0), "dt > 0 ms"),
        (lambda: LIF(beta=1.0), "for a neuron without leak use IF"),
        (lambda: LIF(1.0, integration="euler"), "dt < tau_mem for Euler"),
        (lambda: LIF(10.0, integration="rk4"), "unknown integration"),
        (lambda: LIF(10.0, reset="substract"), "did you mean 'subtract'"),
        (lambda: LIF(10.0, gain="unity"), "did you mean 'unit'"),
        (lambda: LIF(10.0, learn="tau"), "did you mean 'tau_mem'"),
        (lambda: LIF(10.0, threshold=0.0), "threshold > v_rest"),
        (lambda: LIF(10.0, refractory=-1.0), "refractory >= 0 ms"),
        (lambda: LIF(10.0, refractory=1.5), "multiple of dt"),
        (lambda: LIF(10.0, surrogate="arctn"), "did you mean 'arctan'"),
        (lambda: LIF(10.0, backend="cuda"), "unknown backend"),
        (lambda: CUBALIF(10.0), "either tau_syn or alpha"),
        (lambda: ALIF(10.0), "tau_adapt"),
        (lambda: LI(0.0), "tau_mem > 0"),
        (lambda: Recurrent(LI(5.0), 3), "spiking neuron"),
        (lambda: LIF(10.0, surrogate=None), "a Surrogate or a name, got NoneType"),
        (lambda: Spiking(surrogate=2.0), "a Surrogate or a name, got float"),
        (lambda: LIF(10.0, size=0), "size >= 1"),
    ],
)
def test_wrong_arguments_are_errors_at_construction(make, words: str) -> None:
    with pytest.raises((UserError, TypeError), match=words):
        make()


NEURONS = {
    "if": lambda **k: IF(**k),
    "lif": lambda **k: LIF(5.0, **k),
    "cuba": lambda **k: CUBALIF(5.0, 3.0, **k),
    "alif": lambda **k: ALIF(5.0, 50.0, **k),
}


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("size", [None, 6])
@pytest.mark.parametrize("name", NEURONS)
def test_every_learned_quantity_gets_a_gradient(name: str, size: int | None, reset: str) -> None:
    """The article's AdaptiveThreshold gets none; here all do, per layer and per neuron."""
    probe = NEURONS[name]()
    layer = NEURONS[name](learn=probe.learnable, size=size, reset=reset, threshold=0.9)
    x = torch.rand(12, 3, 6, generator=torch.Generator().manual_seed(0))
    s, _ = layer(x)
    (s * torch.rand_like(s)).sum().backward()
    for key, p in layer.named_parameters():
        assert p.shape == (() if size is None else (6,)), key
        if key.startswith("v_reset") and reset == "subtract":
            continue
        assert p.grad is not None, key
        assert p.grad.abs().sum() > 0, key


def test_a_slope_needs_a_primitive_and_area() -> None:
    with pytest.raises(UserError, match="area normalisation"):
        LIF(5.0, learn="slope", surrogate=arctan(2.0, normalisation="peak"))
    layer = LIF(5.0, learn="slope", surrogate=arctan(3.0))
    assert layer.slope().item() == pytest.approx(3.0)


def test_weight_decay_leaves_quantities_biases_and_norms_alone() -> None:
    from spikegrad import BatchNorm

    network = Sequential(
        Linear(4, 3),
        BatchNorm(3),
        LIF(5.0, learn=("tau_mem", "threshold"), size=(3,)),
        Linear(3, 3),
        Recurrent(LIF(5.0), 3),
        Spiking(learn="threshold", size=(1, 3)),
    )
    kept = no_decay(network)
    decayed = {name for name, _ in network.named_parameters()} - kept
    assert decayed == {"0.weight", "3.weight", "4.connection.weight"}


def test_state_dict_round_trip_and_dtype() -> None:
    layer = LIF(torch.tensor([5.0, 10.0]), learn=("tau_mem", "threshold"))
    twin = LIF(torch.tensor([1.0, 2.0]), learn=("tau_mem", "threshold"))
    twin.load_state_dict(layer.state_dict())
    torch.testing.assert_close(twin.decay_mem(), layer.decay_mem())
    assert layer.double().threshold().dtype == torch.float64
    half = layer.to(torch.bfloat16)
    s, state = half(torch.rand(3, 2, 2, dtype=torch.bfloat16))
    assert (s.dtype, state.v.dtype) == (torch.bfloat16, torch.float32)


def test_repr_says_what_a_layer_is() -> None:
    text = repr(LIF(20.0, learn="threshold", refractory=2.0))
    assert "arctan" in text
    assert "learned" in text
    assert "refractory=2 ms" in text
