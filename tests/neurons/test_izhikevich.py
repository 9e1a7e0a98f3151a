"""Izhikevich's model against the program of the paper, written anew with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spikegrad as sg

CELLS = {
    "regular spiking": (0.02, 0.2, -65.0, 8.0),
    "intrinsically bursting": (0.02, 0.2, -55.0, 4.0),
    "chattering": (0.02, 0.2, -50.0, 2.0),
    "fast spiking": (0.1, 0.2, -65.0, 2.0),
    "low-threshold spiking": (0.02, 0.25, -65.0, 2.0),
    "resonator": (0.1, 0.26, -65.0, 2.0),
}


def program(
    current: np.ndarray, cell: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spikes, v and u over 1 ms steps: reset first, two half steps of v, one of u."""
    a, b, c, d = cell
    v, u = np.full(current.shape[1], c), np.full(current.shape[1], -13.0)
    spikes, membranes, recoveries = [], [], []
    for x in current:
        fired = v >= 30.0
        v, u = np.where(fired, c, v), np.where(fired, u + d, u)
        for _ in range(2):
            v = v + 0.5 * (0.04 * v**2 + 5 * v + 140 - u + x)
        u = u + a * (b * v - u)
        spikes.append(v >= 30.0)
        membranes.append(v)
        recoveries.append(u)
    return np.array(spikes), np.array(membranes), np.array(recoveries)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_every_step_is_the_papers_program(cell: tuple[float, ...]) -> None:
    """The currents of the paper's network, 5 N(0, 1), and constant ones.

    Each step starts from the program's own state: over many spikes the rounding of one step grows
    until no two programs agree.
    """
    draw = np.random.default_rng(0)
    constant = np.broadcast_to(np.array([0.0, 4.0, 10.0, 20.0]), (500, 4))
    current = np.concatenate([5 * draw.standard_normal((500, 8)), constant], axis=1)
    spikes, membranes, recoveries = program(current, cell)
    assert spikes.sum() > 10
    after = np.where(spikes, cell[2], membranes), np.where(spikes, recoveries + cell[3], recoveries)
    v, u = (torch.from_numpy(part[:-1]) for part in after)
    given = {k: torch.tensor(n, dtype=torch.float64) for k, n in zip("abcd", cell, strict=True)}
    x = torch.from_numpy(current[1:]).unsqueeze(0)  # the steps side by side, as a batch
    ours, state, trace = sg.Izhikevich.step(x, sg.Izhikevich.State(v=v, u=u), trace=True, **given)
    assert np.array_equal(ours[0].numpy(), spikes[1:].astype(float))
    np.testing.assert_allclose(trace.membrane[0].numpy(), membranes[1:], rtol=1e-9)
    np.testing.assert_allclose(state.v.numpy(), after[0][1:], rtol=1e-9)
    np.testing.assert_allclose(state.u.numpy(), after[1][1:], rtol=1e-9)


def test_a_run_is_the_papers_program() -> None:
    """The regular spiking cell, over the first spikes, in float32 as well."""
    current = 5 * np.random.default_rng(0).standard_normal((300, 8)) + 4.0
    spikes, *_ = program(current, CELLS["regular spiking"])
    assert spikes.sum() > 20
    x = torch.from_numpy(current).unsqueeze(1)
    assert np.array_equal(sg.Izhikevich().double()(x)[0][:, 0].numpy(), spikes.astype(float))
    single = sg.Izhikevich()(x.float())[0]
    assert single.sum().item() == pytest.approx(spikes.sum(), abs=3)


def test_the_firing_patterns_of_the_paper() -> None:
    """At a current of 10: intervals of chattering are short and long, fast spiking fires most."""
    x = torch.full((1000, 1, 1), 10.0)
    gaps = {}
    for name in ("regular spiking", "chattering", "fast spiking"):
        a, b, c, d = CELLS[name]
        gaps[name] = sg.Izhikevich(a=a, b=b, c=c, d=d)(x)[0].flatten().nonzero().flatten().diff()
    assert gaps["chattering"].min() <= 5
    assert gaps["chattering"].max() >= 20
    assert len(gaps["fast spiking"]) > 2 * len(gaps["regular spiking"])
    assert gaps["regular spiking"][2:].min() > 20


def test_a_smaller_step_is_two_half_steps_of_it() -> None:
    """The subthreshold membrane tends to its fixed point, whatever the step."""
    for dt in (1.0, 0.25):
        _, state = sg.Izhikevich(dt=dt).double()(torch.zeros(4000, 1, 1, dtype=torch.float64))
        # 0.04 v^2 + 5 v + 140 - 0.2 v = 0: its lower root
        assert state.v.item() == pytest.approx(-70.0, abs=1e-4)
        assert state.u.item() == pytest.approx(-14.0, abs=1e-4)


def test_strong_inhibition_causes_no_spike() -> None:
    spikes, state = sg.Izhikevich()(torch.tensor([-200.0, -1e4]).expand(300, 1, 2))
    assert spikes.sum() == 0
    assert (state.v >= -120.0).all()
