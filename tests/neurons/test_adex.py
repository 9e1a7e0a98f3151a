"""AdEx against SciPy's integrator."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hybrid import solve, spike_times

import spikegrad as sg

PAPER = {"v_reset": -70.6, "a": 4.0, "b": 80.5, "tau_adapt": 144.0}
TONIC = {**PAPER, "a": 0.0, "b": 0.0}
BURSTS = {**PAPER, "v_reset": -47.4, "tau_adapt": 40.0}


def exact(x: float, end: float, p: dict[str, float]) -> list[float]:
    """Spike times (ms) at a constant current (pA)."""

    def slope(t: float, y: Any) -> list[float]:
        v, w = y
        up = 30.0 * 2.0 * math.exp((v + 50.4) / 2.0)
        return [(-30.0 * (v + 70.6) + up - w + x) / 281.0,
                (p["a"] * (v + 70.6) - w) / p["tau_adapt"]]  # fmt: skip

    # From -30 to 20 mV the upstroke takes 0.3 us, and a step too small for the integrator.
    return solve(slope, [-70.6, 0.0], -30.0, lambda y: [p["v_reset"], y[1] + p["b"]], end)


def ours(x: float, end: float, dt: float, p: dict[str, float]) -> list[float]:
    """The same by the layer."""
    with torch.no_grad():
        current = torch.full((round(end / dt), 1, 1), x, dtype=torch.float64)
        spikes, _ = sg.AdEx(dt=dt, **p).double()(current)
    return spike_times(spikes, dt).tolist()


@pytest.mark.parametrize("p", [PAPER, TONIC, BURSTS], ids=["paper", "tonic", "bursts"])
def test_spike_times_tend_to_scipys(p: dict[str, float]) -> None:
    theirs = exact(1000.0, 80.0, p)
    mine = ours(1000.0, 80.0, 0.02, p)
    assert len(theirs) >= 4
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert a == pytest.approx(b, rel=0.005, abs=0.05)


def test_at_one_millisecond_the_rate_is_close() -> None:
    """The step of the default layer: the first spikes within 1.3 ms, the rate within a tenth."""
    theirs, mine = exact(1000.0, 500.0, PAPER), ours(1000.0, 500.0, 1.0, PAPER)
    assert mine[:4] == pytest.approx(theirs[:4], abs=1.3)
    assert len(mine) == pytest.approx(len(theirs), rel=0.1)


def test_it_adapts() -> None:
    """Regular spiking: intervals grow to a steady one; without adaptation all are equal."""
    gaps = torch.tensor(ours(1000.0, 500.0, 0.1, PAPER)).diff()
    assert (gaps[:6].diff() > 0).all()
    assert gaps[-1] > 1.5 * gaps[0]
    same = torch.tensor(ours(1000.0, 100.0, 0.1, TONIC)).diff()
    assert same[1:].max() - same[1:].min() < 0.15


def test_bursts_have_short_and_long_intervals() -> None:
    """A reset above v_t: several spikes at once, then silence (figure 3 of the paper)."""
    gaps = torch.tensor(ours(800.0, 400.0, 0.1, BURSTS)).diff()
    assert gaps.max() > 5 * gaps.min()


def test_below_the_upstroke_the_membrane_is_the_linear_equation() -> None:
    """The steady state: v - v_rest = x / (g_leak + a), w = a (v - v_rest)."""
    _, state = sg.AdEx().double()(torch.full((3000, 1, 1), -340.0, dtype=torch.float64))
    assert state.v.item() == pytest.approx(-80.6, abs=1e-4)
    assert state.w.item() == pytest.approx(-40.0, abs=1e-3)
