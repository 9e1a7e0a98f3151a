"""Spiking neurons by SciPy's integrator: between spikes an ODE, at a spike a jump; no step dt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

__all__ = ["intervals", "solve", "spike_times"]

Point = np.ndarray


def solve(
    slope: Callable[[float, Point], list[float]],
    start: list[float],
    threshold: float,
    jump: Callable[[Point], list[float]],
    end: float,
) -> list[float]:
    """Times (ms) at which the first variable reaches the threshold, up to the end.

    slope: the ODE's right side; jump: the variables after a spike from those before.
    """

    def reach(t: float, y: Point) -> float:
        return float(y[0]) - threshold

    reach.terminal, reach.direction = True, 1.0  # type: ignore[attr-defined]
    now, y, times = 0.0, np.array(start), []
    while True:
        found = solve_ivp(slope, (now, end), y, events=reach, rtol=1e-9, atol=1e-9, max_step=1.0)
        if found.status < 0:
            raise RuntimeError(found.message)
        if found.status == 0:
            return times
        now = float(found.t[-1])
        times.append(now)
        y = np.array(jump(found.y[:, -1]))


def spike_times(spikes: Tensor, dt: float) -> Tensor:
    """Times (ms) of the spikes `[T, 1, 1]` of one neuron: the ends of the steps they are in."""
    return (spikes.flatten().nonzero().flatten() + 1).double() * dt


def intervals(layer: torch.nn.Module, x: float, steps: int, dt: float) -> Tensor:
    """Intervals (ms) between the spikes of one neuron at a constant current, in float64."""
    with torch.no_grad():
        spikes, _ = layer.double()(torch.full((steps, 1, 1), x, dtype=torch.float64))
    return spike_times(spikes, dt).diff()
