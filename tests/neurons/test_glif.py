"""GLIF against closed forms and SciPy's integrator."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hybrid import solve, spike_times

import spikegrad as sg

C, G = 58.72, 9.43


def exact(x: float, end: float) -> list[float]:
    """Spike times (ms) at a constant current (pA)."""

    def slope(t: float, y: Any) -> list[float]:
        v, slow, fast = y
        return [(-G * (v + 78.85) + slow + fast + x) / C, -0.003 * slow, -0.1 * fast]

    def jump(y: Any) -> list[float]:
        return [-78.85, y[1] - 9.18, y[2] - 198.94]

    return solve(slope, [-78.85, 0.0, 0.0], -51.68, jump, end)


def ours(x: float, end: float, dt: float) -> list[float]:
    """The same by the layer."""
    with torch.no_grad():
        current = torch.full((round(end / dt), 1, 1), x, dtype=torch.float64)
        spikes, _ = sg.GLIF(dt=dt).double()(current)
    return spike_times(spikes, dt).tolist()


@pytest.mark.parametrize("x", [300.0, 500.0, 1000.0])
@pytest.mark.parametrize("dt", [1.0, 0.1])
def test_the_first_spike_is_the_closed_form(x: float, dt: float) -> None:
    """Exact at any step: T = tau ln(x / (x - g (threshold - v_rest))), and the step it lies in."""
    first = C / G * math.log(x / (x - G * 27.17))
    assert ours(x, 30.0, dt)[0] == pytest.approx(math.ceil(first / dt) * dt)


def test_spike_times_tend_to_scipys() -> None:
    theirs = exact(500.0, 150.0)
    assert len(theirs) >= 8
    mine = ours(500.0, 150.0, 0.02)
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert a == pytest.approx(b, rel=0.003, abs=0.03)


def test_at_one_millisecond_the_rate_is_close() -> None:
    assert len(ours(500.0, 500.0, 1.0)) == pytest.approx(len(exact(500.0, 500.0)), rel=0.15)


def test_after_spike_currents_decay_with_their_time_constants() -> None:
    layer = sg.GLIF().double()
    pulse = torch.zeros(40, 1, 1, dtype=torch.float64)
    pulse[0] = 5000.0
    spikes, state = layer(pulse)
    assert spikes.flatten().nonzero().flatten().tolist() == [0]
    assert state.i_slow.item() == pytest.approx(-9.18 * math.exp(-39 * 0.003), rel=1e-5)
    assert state.i_fast.item() == pytest.approx(-198.94 * math.exp(-39 * 0.1), rel=1e-5)


def test_without_jumps_it_is_lif() -> None:
    torch.manual_seed(0)
    x = 300.0 + 300.0 * torch.randn(200, 2, 3, dtype=torch.float64)
    ours, _ = sg.GLIF.step(x, jump_slow=0.0, jump_fast=0.0)
    lif, _ = sg.functional.lif(
        x / G, beta=math.exp(-G / C), v_rest=-78.85, threshold=-51.68, v_reset=-78.85,
        reset="zero", gain="leak",
    )  # fmt: skip
    assert ours.sum() > 10
    assert torch.equal(ours, lif)
