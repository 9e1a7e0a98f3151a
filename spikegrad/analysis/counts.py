"""Spike counts over windows: what rates, Fano factors and correlations are made of."""

from __future__ import annotations

from torch import Tensor

from spikegrad.analysis.trains import check_spikes, steps_of

__all__ = ["counts", "windows_of"]


def counts(spikes: Tensor, *, window: float, dt: float = 1.0) -> Tensor:
    """The number of spikes in each of the windows that follow one another.

    Args:
        spikes: `[T, B, *features]`.
        window: length of a window (ms), a whole number of steps.
        dt: time step (ms).
    Returns:
        counts `[W, B, *features]`, `W = floor(T * dt / window)`; the steps after the last whole
        window are left out. Differentiable.
    Raises:
        UserError: spikes that are negative or not finite, a window longer than the trains.

    >>> import torch
    >>> s = torch.tensor([1.0, 1, 0, 1, 0, 0, 1]).reshape(7, 1)
    >>> counts(s, window=3.0).flatten().tolist()
    [2.0, 1.0]
    """
    s = check_spikes(spikes, dt)
    return windows_of(s, steps_of(window, dt, s.shape[0])).sum(1)


def windows_of(x: Tensor, length: int) -> Tensor:
    """x `[T, ...]` as whole windows of so many steps, `[W, length, ...]`."""
    whole = x.shape[0] // length
    return x[: whole * length].unflatten(0, (whole, length))
