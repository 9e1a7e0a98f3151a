"""Intervals between the spikes of a train, and three measures of how they vary.

A Poisson train has CV = CV2 = LV = 1 in expectation, a regular one 0. Here time has steps: where
each step has a spike with probability p, the intervals are geometric and CV = sqrt(1 - p).
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.analysis.events import events
from spikegrad.analysis.trains import check_spikes, check_whole

__all__ = ["cv", "cv2", "intervals", "local_variation"]


def intervals(spikes: Tensor, *, dt: float = 1.0) -> Tensor:
    """The inter-spike intervals (ISI) of every train, in their order.

    Args:
        spikes: 0 and 1, `[T, B, *features]`.
        dt: time step (ms).
    Returns:
        intervals (ms) `[K, B, *features]`, K the largest number of intervals of a train; NaN
        behind the last interval of a train. Has no gradient.
    Raises:
        UserError: soft spikes, or more than one spike in a step.

    >>> s = torch.tensor([[1, 0], [0, 1], [1, 0], [0, 0], [0, 0], [1, 0]])
    >>> intervals(s)
    tensor([[2., nan],
            [3., nan]])
    """
    s = check_spikes(spikes, dt)
    check_whole(s, most=1)
    steps, number = events(s.flatten(1))
    between = steps.diff(dim=1).to(s.dtype) * dt
    order = torch.arange(between.shape[1], device=s.device)
    between = between.masked_fill(order >= (number - 1).unsqueeze(1), float("nan"))
    return between.T.reshape(-1, *s.shape[1:]) if between.shape[1] else s.new_empty(0, *s.shape[1:])


def cv(spikes: Tensor, *, dt: float = 1.0) -> Tensor:
    """Coefficient of variation of the intervals: their standard deviation over their mean.

    The standard deviation is that of the population (divided by n). Arguments: `intervals`.
    Returns `[B, *features]`; NaN for trains with fewer than two intervals (three spikes).

    >>> s = torch.zeros(30, 1); s[::10] = 1.0               # regular
    >>> cv(s).tolist(), cv(s[:15]).tolist()
    ([0.0], [nan])
    """
    between = intervals(spikes, dt=dt)
    known = ~between.isnan()
    n = known.sum(0)
    mean = between.nansum(0) / n
    variance = (between - mean).square().nansum(0) / n
    return (variance.sqrt() / mean).masked_fill(n < 2, float("nan"))


def cv2(spikes: Tensor, *, dt: float = 1.0) -> Tensor:
    """The mean of `2 |I[i+1] - I[i]| / (I[i+1] + I[i])` over neighbouring intervals.

    Slow changes of the rate raise the CV, but hardly this. Arguments: `intervals`.
    Returns `[B, *features]`; NaN for trains with fewer than two intervals.
    Source: Holt, Softky, Koch & Douglas (1996), J. Neurophysiology 75(5).

    >>> s = torch.zeros(5, 1); s[0] = s[1] = s[4] = 1.0      # intervals 1 and 3
    >>> cv2(s).tolist()
    [1.0]
    """
    return (2.0 * relative_steps(intervals(spikes, dt=dt)).abs()).nanmean(0)


def local_variation(spikes: Tensor, *, dt: float = 1.0) -> Tensor:
    """LV, `3/(n-1) sum_i ((I[i] - I[i+1]) / (I[i] + I[i+1]))^2` over n intervals.

    Arguments: `intervals`. Returns `[B, *features]`; NaN for trains with fewer than two intervals.
    Source: Shinomoto, Shima & Tanji (2003), Neural Computation 15(12).

    >>> s = torch.zeros(5, 1); s[0] = s[1] = s[4] = 1.0      # intervals 1 and 3
    >>> local_variation(s).tolist()
    [0.75]
    """
    return (3.0 * relative_steps(intervals(spikes, dt=dt)).square()).nanmean(0)


def relative_steps(between: Tensor) -> Tensor:
    """`(I[i+1] - I[i]) / (I[i+1] + I[i])`; NaN where there is no next interval."""
    if len(between) < 2:  # a row of NaN, since a mean over no rows has no warning of its own
        return between.new_full((1, *between.shape[1:]), float("nan"))
    return between.diff(dim=0) / (between[1:] + between[:-1])
