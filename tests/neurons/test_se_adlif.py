"""SEAdLIF against its differential equation and its recursion."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import spikegrad as sg


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_it_is_the_papers_recursion(reset: str) -> None:
    """Number by number, with the membrane after the reset in the adaptation."""
    x = 45.0 + 60.0 * np.random.default_rng(0).standard_normal(300)
    alpha, beta = math.exp(-1 / 15), math.exp(-1 / 180)
    u = w = 0.0
    spikes = []
    for current in x:
        u = alpha * u + (1 - alpha) * (current - w)
        s = float(u >= 1.0)
        u = u * (1 - s) if reset == "zero" else u - s
        w = beta * w + (1 - beta) * 120 * (0.5 * u + 1.0 * s)
        spikes.append(s)
    assert 20 < sum(spikes) < 280
    y, state = sg.SEAdLIF.step(torch.from_numpy(x).reshape(-1, 1, 1), reset=reset)
    assert y.flatten().tolist() == spikes
    assert state.v.item() == pytest.approx(u, abs=1e-9)
    assert state.w.item() == pytest.approx(w, abs=1e-9)


def membrane(dt: float, end: float = 300.0) -> torch.Tensor:
    """The membrane at a constant current of 20 and a threshold that it never reaches."""
    x = torch.full((round(end / dt), 1, 1), 20.0, dtype=torch.float64)
    decays = {"beta": math.exp(-dt / 15), "rho": math.exp(-dt / 180)}
    *_, trace = sg.SEAdLIF.step(x, dt=dt, threshold=1e3, trace=True, **decays)
    return trace.membrane.flatten()


def test_below_threshold_it_tends_to_the_differential_equation() -> None:
    found = solve_ivp(
        lambda t, y: [(-y[0] - y[1] + 20.0) / 15.0, (-y[1] + 60.0 * y[0]) / 180.0],
        (0.0, 300.0), [0.0, 0.0], t_eval=np.arange(1.0, 300.5, 1.0), rtol=1e-10, atol=1e-10,
    )  # fmt: skip
    exact = torch.from_numpy(found.y[0])
    errors = {
        dt: (membrane(dt)[round(1 / dt) - 1 :: round(1 / dt)] - exact).abs().max().item()
        for dt in (1.0, 0.1, 0.02)
    }
    assert errors[0.02] < 0.002 * exact.max()
    assert errors[0.1] < errors[1.0] / 5
    assert errors[1.0] < 0.1 * exact.max()


def test_the_oscillation_decays_at_the_largest_a() -> None:
    """Where forward Euler's would grow: the whole point of the symplectic step."""
    a, b = math.exp(-1 / 25), math.exp(-1 / 60)
    euler = np.array([[a, a - 1], [(1 - b) * 120, b]])
    assert max(abs(np.linalg.eigvals(euler))) > 1
    x = torch.zeros(600, 1, 1)
    x[0] = 10.0
    layer = sg.SEAdLIF(a=1.0, tau_mem=25.0, tau_adapt=60.0, threshold=10.0)
    _, state = layer(x)
    assert state.v.abs().item() < 1e-2
