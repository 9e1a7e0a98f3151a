"""EIF against SciPy's integrator, and LIF as its limit."""

from __future__ import annotations

import math

import pytest
import torch
from hybrid import intervals, solve

import spikegrad as sg


def exact(x: float, end: float = 150.0) -> list[float]:
    """Spike times (ms) at a constant current."""
    return solve(
        lambda t, v: [(-(v[0] + 65.0) + 3.48 * math.exp((v[0] + 59.9) / 3.48) + x) / 10.0],
        [-65.0], -30.0, lambda v: [-68.0], end,
    )  # fmt: skip


@pytest.mark.parametrize("x", [5.0, 10.0, 20.0])
def test_the_period_tends_to_scipys(x: float) -> None:
    times = exact(x)
    period = times[2] - times[1]
    for dt in (1.0, 0.1, 0.02):
        found = intervals(sg.EIF(dt=dt), x, round(120 / dt), dt)
        assert found[1].item() == pytest.approx(period, abs=1.01 * dt)


def test_it_fires_above_the_rheobase_alone() -> None:
    """v_t - v_rest - delta_t, where the right side has no zero any more."""
    x = torch.tensor([1.55, 1.75]).expand(4000, 1, 2)
    assert (sg.EIF(dt=0.5)(x)[0].sum(0) > 0).tolist() == [[False, True]]


def test_a_sharp_upstroke_is_lif() -> None:
    """With delta_t near 0 it is LIF whose threshold is v_t: T = tau ln((x + 3)/(x - 5.1))."""
    dt = 0.02
    found = intervals(sg.EIF(dt=dt, delta_t=0.002), 10.0, 5000, dt)
    assert found[1] == pytest.approx(10.0 * math.log(13.0 / 4.9), abs=3 * dt)


def test_below_the_upstroke_a_step_is_exact() -> None:
    """The membrane is that of LIF where the exponential is nothing."""
    x = torch.randn(50, 1, 4, dtype=torch.float64) - 20.0
    _, _, ours = sg.EIF.step(x, trace=True, v_t=500.0)
    _, _, lif = sg.functional.lif(
        x, beta=math.exp(-0.1), v_rest=-65.0, threshold=0.0, gain="leak", trace=True
    )
    torch.testing.assert_close(ours.membrane, lif.membrane)
