"""Resonate-and-fire and the balanced variant, against their solutions in complex numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import spikegrad as sg


def pulses(*times: int, height: float, steps: int = 300) -> torch.Tensor:
    """Pulses of current at some steps `[T, 1, 1]`."""
    x = torch.zeros(steps, 1, 1, dtype=torch.float64)
    x[list(times)] = height
    return x


@pytest.mark.parametrize("dt", [1.0, 0.3])
def test_a_pulse_is_answered_by_the_damped_oscillation(dt: float) -> None:
    """v(t) = exp(-t/tau) sin(omega t), exact at any step."""
    step = sg.ResonateAndFire.step
    beta, omega = math.exp(-dt / 100.0), 0.1
    *_, trace = step(pulses(0, height=0.9), dt=dt, beta=beta, omega=omega, trace=True)
    t = dt * torch.arange(300, dtype=torch.float64)
    expected = 0.9 * torch.exp(-t / 100.0) * torch.sin(omega * t)
    torch.testing.assert_close(trace.membrane.flatten(), expected)


def test_it_prefers_pulses_at_its_own_period() -> None:
    """Two pulses a period (63 ms) apart cause a spike; at half of it, or alone, they do not."""
    layer = sg.ResonateAndFire().double()
    counts = {gap: layer(pulses(0, gap, height=0.8))[0].sum().item() for gap in (31, 63, 94)}
    assert counts == {31: 0, 63: 1, 94: 0}


def test_inhibition_can_cause_a_spike() -> None:
    """Post-inhibitory rebound: a negative pulse is followed by a swing above the threshold."""
    spikes, _ = sg.ResonateAndFire()(pulses(0, height=-2.0).float())
    times = spikes.flatten().nonzero().flatten()
    assert len(times) == 1
    assert 31 < times.item() < 63


def test_a_spike_sets_z_to_i() -> None:
    """And the threshold that it starts from again causes no second spike."""
    spikes, state = sg.ResonateAndFire()(torch.full((1, 1, 1), 0.0),
        sg.ResonateAndFire.State(i=torch.full((1, 1), 20.0), v=torch.zeros(1, 1)))  # fmt: skip
    assert spikes.item() == 1
    assert (state.i.item(), state.v.item()) == (0.0, 1.0)
    assert sg.ResonateAndFire()(torch.zeros(100, 1, 1), state)[0].sum() == 0


def brf(x: np.ndarray, omega: float, b: float, gamma: float = 0.9, delta: float = 0.01) -> tuple:
    """The paper's equations in its own unit of time: spikes and the complex membrane."""
    z, q, spikes, membranes = 0j, 0.0, [], []
    sustain = (-1 + math.sqrt(1 - (delta * omega) ** 2)) / delta
    for current in x:
        rate = sustain - b - q
        z = z + delta * ((rate + 1j * omega) * z + current)
        s = float(z.real >= 1.0 + q)
        q = gamma * q + s
        spikes.append(s)
        membranes.append(z)
    return np.array(spikes), np.array(membranes)


@pytest.mark.parametrize(("omega", "b"), [(10.0, 1.0), (5.0, 2.0), (40.0, 0.1)])
def test_balanced_is_the_papers_recursion(omega: float, b: float) -> None:
    x = 60.0 * np.random.default_rng(0).standard_normal(400) + 20.0
    spikes, membranes = brf(x, omega, b)
    assert 5 < spikes.sum() < 300
    y, state, trace = sg.BalancedResonateAndFire.step(
        torch.from_numpy(x).reshape(-1, 1, 1), omega=omega / 100, damping=b / 100, trace=True
    )
    assert np.array_equal(y.flatten().numpy(), spikes)
    np.testing.assert_allclose(trace.membrane.flatten().numpy(), membranes.real, atol=1e-10)
    assert state.i.item() == pytest.approx(membranes[-1].imag, abs=1e-10)


@pytest.mark.parametrize("omega", [0.01, 0.1, 0.7])
def test_balanced_without_damping_neither_grows_nor_shrinks(omega: float) -> None:
    """Any frequency is stable; Euler's rotation alone grows by sqrt(1 + omega^2) a step."""
    layer = sg.BalancedResonateAndFire(omega=omega, damping=0.0).double()
    _, state = layer(pulses(0, height=50.0, steps=2000))
    assert torch.hypot(state.v, state.i).item() == pytest.approx(0.5, rel=1e-3)
    _, state = sg.BalancedResonateAndFire(omega=omega).double()(pulses(0, height=50.0, steps=2000))
    assert torch.hypot(state.v, state.i).item() < 1e-3


def test_a_spike_raises_threshold_and_damping() -> None:
    """The same current gives fewer spikes than without q."""
    layer, free = sg.BalancedResonateAndFire(), sg.BalancedResonateAndFire(gamma=0.0)
    x = torch.full((300, 1, 1), 150.0)
    assert layer(x)[0].sum() < free(x)[0].sum()
