"""Trains as sums of exponentials, one for each spike."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.analysis.trains import computed_in
from spikegrad.checks import check_current, check_finite, check_positive

__all__ = ["filtered"]


def filtered(spikes: Tensor, *, tau: float, dt: float = 1.0) -> Tensor:
    """Every spike as an exponential: `f[t] = sum_{i <= t} exp(-(t - i) dt / tau) s[i]`.

    Args:
        spikes: `[T, B, *features]`, of any finite values.
        tau: time constant (ms); dt: time step (ms).
    Returns:
        f `[T, B, *features]`, a spike of height 1. Differentiable.
    Raises:
        UserError: tau <= 0, NaN.
    Source: van Rossum (2001), Neural Computation 13(4).

    >>> s = torch.zeros(3, 1); s[0] = 1.0
    >>> filtered(s, tau=1.0 / torch.log(torch.tensor(2.0)).item()).flatten().tolist()
    [1.0, 0.5, 0.25]
    """
    check_current(spikes, name="spikes", floating=False)
    check_positive(tau, "tau", unit="ms")
    check_positive(dt, "dt", unit="ms")
    check_finite(spikes, "spikes")
    x = computed_in(spikes)
    # A sum over the last k steps, and that of the k steps before it, faded, is one over 2 k steps.
    # No product of matrices: under autocast that would be in half precision.
    known = 1
    while known < len(x):
        fade = math.exp(-known * dt / tau)
        x = torch.cat([x[:known], x[known:] + fade * x[:-known]])
        known *= 2
    return x


def beta_squared_gap(tau: float, dt: float) -> float:
    """`1 - beta^2`, exact where tau is much longer than a step."""
    return -math.expm1(-2.0 * dt / tau)
