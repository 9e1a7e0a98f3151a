"""The peri-stimulus time histogram: the rate over time, averaged over trials."""

from __future__ import annotations

from torch import Tensor

from spikegrad.analysis.rate import rate

__all__ = ["psth"]


def psth(
    spikes: Tensor, *, window: float, dt: float = 1.0, lengths: Tensor | None = None
) -> Tensor:
    """The rate in each window, averaged over the trials, which are the samples of the batch.

    Args:
        spikes: `[T, B, *features]`, the same stimulus in every sample.
        window: length of a bin (ms), a whole number of steps.
        dt: time step (ms).
        lengths: int64 `[B]`, the steps of every sample, None for T each: a bin is averaged over
            the samples that reach its end, and NaN where none does.
    Returns:
        rates (Hz) `[W, *features]`; the steps after the last whole bin are left out.
        Differentiable.
    Raises:
        UserError: spikes that are negative or not finite, a window longer than the trains.
    Source: Gerstner, Kistler, Naud & Paninski (2014), Neuronal Dynamics, section 7.2.2.

    >>> import torch
    >>> s = torch.zeros(4, 2, 1); s[0] = 1.0; s[2, 0] = 1.0
    >>> psth(s, window=2.0).flatten().tolist()
    [500.0, 250.0]
    """
    rates = rate(spikes, dt=dt, window=window, lengths=lengths)
    return rates.mean(1) if lengths is None else rates.nanmean(1)
