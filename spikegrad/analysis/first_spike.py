"""The time to the first spike, as a tensor that has a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.analysis.rate import real_of
from spikegrad.analysis.trains import check_spikes, has_values
from spikegrad.checks import check_positive
from spikegrad.errors import UserError, message
from spikegrad.ragged import check_lengths

__all__ = ["first_spike_time"]


def first_spike_time(spikes: Tensor, *, dt: float = 1.0, lengths: Tensor | None = None) -> Tensor:
    """The latency of every train: the time before its first spike.

    `t = dt sum_t prod_{i <= t} (1 - s[i])`: the steps that have passed without a spike. A spike at
    the first step has latency 0. **A silent train has latency `T dt`**, as if it spiked right after
    the last step.

    The formula is linear in each s[i], so its derivative is the exact difference that the spike
    makes: the latency with it minus the latency without it. It is negative at each step up to the
    first spike, also in a silent train, and 0 after it. Of probabilities to spike the formula is
    the expected latency.

    Args:
        spikes: `[T, B, *features]`: 0 and 1, counts (a count is a spike), or soft spikes in [0, 1].
        dt: time step (ms).
        lengths: int64 `[B]`, the steps of every sample, None for T each: T is the sample's own.
    Returns:
        latencies (ms) `[B, *features]`, from 0 to `T dt`. Differentiable.
    Raises:
        UserError: values that are no spikes (negative, not finite, 1.5).
    Source: the survivor function of Gerstner, Kistler, Naud & Paninski (2014), Neuronal Dynamics,
        section 7.5, in steps; its sum is the mean of the waiting time.

    >>> import torch
    >>> s = torch.tensor([[0.0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]])
    >>> first_spike_time(s, dt=0.5).tolist()
    [1.0, 0.0, 2.0]
    """
    check_positive(dt, "dt", unit="ms")
    s = check_spikes(spikes, dt)
    if has_values(s):
        check_events(s)
    waiting = (1.0 - s.clamp(max=1.0)).cumprod(0)
    if lengths is not None:
        own = check_lengths(lengths, *s.shape[:2]).to(s.device)
        waiting = torch.where(real_of(s, own), waiting, 0.0)
    return dt * waiting.sum(0)


def check_events(s: Tensor) -> None:
    """Values that are no spikes: above 1, and no counts."""
    wrong = (s > 1) & ((s - s.round()).abs() > 1e-3)
    if bool(wrong.any()):
        expected = "expected spikes 0 and 1, counts, or soft spikes in [0, 1]"
        remedy = "read output spikes, not membranes"
        raise UserError(message(expected, f"{s[wrong][0].item():g}", remedy))
