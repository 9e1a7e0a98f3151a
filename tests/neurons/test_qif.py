"""QIF against the closed form of its period."""

from __future__ import annotations

import math

import pytest
import torch
from hybrid import intervals, solve

import spikegrad as sg

MIDDLE, WIDTH, TAU = -57.5, 15.0, 10.0


def scaled(v: float) -> float:
    """The membrane on the scale on which the equation is z^2 + c^2."""
    return (v - MIDDLE) / WIDTH


def exact(x: float, turned: float = 0.0) -> float:
    """The period (ms) from reset to threshold; turned: the angle of a step, 0 for no steps."""
    c = math.sqrt(x / WIDTH - 0.25)
    angle = math.atan(scaled(30.0) / c) - math.atan(scaled(-80.0) / c)
    return angle / turned if turned else TAU * angle / c


@pytest.mark.parametrize("x", [5.0, 10.0, 20.0, 60.0])
@pytest.mark.parametrize("dt", [0.05, 0.25, 1.0])
def test_the_period_is_the_closed_form_of_the_step(x: float, dt: float) -> None:
    """A step turns the phase `atan(z/c)` by `atan(h c)`: the period in steps follows."""
    c, h = math.sqrt(x / WIDTH - 0.25), dt / TAU
    found = intervals(sg.QIF(dt=dt), x, round(300 / dt), dt)
    assert len(found) >= 2
    steps = math.ceil(exact(x, math.atan(h * c)))
    torch.testing.assert_close(found, torch.full_like(found, steps * dt))


@pytest.mark.parametrize("x", [5.0, 10.0, 20.0])
def test_the_period_tends_to_that_of_the_equation(x: float) -> None:
    for dt in (0.05, 1.0):
        found = intervals(sg.QIF(dt=dt), x, round(300 / dt), dt)
        assert exact(x) <= found.min() <= found.max() <= exact(x) + 1.01 * dt


def test_the_closed_form_is_scipys() -> None:
    times = solve(
        lambda t, v: [((v[0] + 65.0) * (v[0] + 50.0) / WIDTH + 10.0) / TAU],
        [-80.0], 30.0, lambda v: [-80.0], 100.0,
    )  # fmt: skip
    assert times[0] == pytest.approx(exact(10.0), rel=1e-6)


def test_it_fires_above_the_rheobase_alone() -> None:
    """A quarter of the distance between rest and v_crit."""
    x = torch.tensor([3.74, 3.9]).expand(2000, 1, 2)
    assert (sg.QIF()(x)[0].sum(0) > 0).tolist() == [[False, True]]


def test_above_v_crit_it_rises_by_itself() -> None:
    layer = sg.QIF()
    start = layer.State(v=torch.tensor([[-50.5, -49.5]]))
    assert (layer(torch.zeros(200, 1, 2), start)[0].sum(0) > 0).tolist() == [[False, True]]


def test_inhibition_causes_no_spike() -> None:
    """Euler's step would: the square of a membrane far below rest is large."""
    x = torch.tensor([-30.0, -1e3, -1e6]).expand(300, 1, 3)
    spikes, state = sg.QIF()(x)
    assert spikes.sum() == 0
    assert (state.v < -65.0).all()
