"""Firing rates, over whole trains or over windows."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from spikegrad.analysis.counts import windows_of
from spikegrad.analysis.trains import check_spikes, steps_of
from spikegrad.checks import check_choice
from spikegrad.ragged import check_lengths, mask_of

__all__ = ["rate"]


def rate(
    spikes: Tensor,
    *,
    dt: float = 1.0,
    window: float | None = None,
    unit: Literal["Hz", "step"] = "Hz",
    lengths: Tensor | None = None,
) -> Tensor:
    """The firing rate of every train: spikes over time.

    Args:
        spikes: `[T, B, *features]`.
        dt: time step (ms).
        window: length (ms) of the windows, a whole number of steps; None: the whole train.
        unit: "Hz" (spikes per second), or "step" (spikes per step, as elsewhere in the package).
        lengths: int64 `[B]`, the steps of every sample, None for T each. What stands behind them
            does not count; a window that a sample does not reach the end of is NaN.
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
    length = None if window is None else steps_of(window, dt, s.shape[0])
    mean = s.mean(0) if length is None else windows_of(s, length).mean(1)
    if lengths is not None:
        own = check_lengths(lengths, *s.shape[:2]).to(s.device)
        mean = of_lengths(s, own) if length is None else reached(mean, own // length)
    return mean * (1000.0 / dt) if unit == "Hz" else mean


def of_lengths(s: Tensor, lengths: Tensor) -> Tensor:
    """The mean over the real steps of every sample."""
    real = real_of(s, lengths)
    return torch.where(real, s, 0.0).sum(0) / lengths.reshape(real.shape[1:])


def reached(means: Tensor, windows: Tensor) -> Tensor:
    """Means of windows `[W, B, *features]`, NaN behind the last whole one of every sample."""
    return means.masked_fill(~real_of(means, windows), torch.nan)


def real_of(x: Tensor, lengths: Tensor) -> Tensor:
    """Which steps of x are real, `[T, B, 1, ...]`."""
    return mask_of(lengths, len(x)).reshape(*x.shape[:2], *[1] * (x.dim() - 2))
