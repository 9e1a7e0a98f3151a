"""Firing rates, over whole trains or over windows."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from spikegrad.analysis.counts import windows_of
from spikegrad.analysis.trains import check_spikes, steps_of
from spikegrad.checks import check_choice

__all__ = ["rate"]


def rate(
    spikes: Tensor,
    *,
    dt: float = 1.0,
    window: float | None = None,
    unit: Literal["Hz", "step"] = "Hz",
) -> Tensor:
    """The firing rate of every train: spikes over time.

    Args:
        spikes: `[T, B, *features]`.
        dt: time step (ms).
        window: length (ms) of the windows, a whole number of steps; None: the whole train.
        unit: "Hz" (spikes per second), or "step" (spikes per step, as elsewhere in the package).
    Returns:
        rates `[B, *features]`, or `[W, B, *features]` with a window; the steps after the last
        whole window are left out. Differentiable.
    Raises:
        UserError: spikes that are negative or not finite, a window longer than the trains.

    >>> import torch
    >>> s = torch.zeros(100, 1, 1); s[::20] = 1.0            # every 20 ms
    >>> rate(s).item(), round(rate(s, unit="step").item(), 3), rate(s, window=50.0).shape
    (50.0, 0.05, torch.Size([2, 1, 1]))
    """
    check_choice(unit, "unit", ("Hz", "step"))
    s = check_spikes(spikes, dt)
    if window is None:
        mean = s.mean(0)
    else:
        mean = windows_of(s, steps_of(window, dt, s.shape[0])).mean(1)
    return mean * (1000.0 / dt) if unit == "Hz" else mean
