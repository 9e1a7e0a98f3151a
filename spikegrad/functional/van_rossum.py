"""A loss on spike times: how far output trains are from target trains."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from spikegrad.analysis import van_rossum_squared
from spikegrad.checks import check_choice, check_current
from spikegrad.errors import UserError, message
from spikegrad.ragged import check_lengths, mask_of

__all__ = ["van_rossum"]


def van_rossum(
    s: Tensor,
    target: Tensor,
    *,
    tau: float,
    dt: float = 1.0,
    first: Literal["time", "batch"] = "time",
    lengths: Tensor | None = None,
) -> Tensor:
    """The mean squared distance of van Rossum between output trains and target trains.

    mean over B and features of `D^2 = 1/tau integral_0^inf (f(t) - g(t))^2 dt`, where f and g are
    the sums of `exp(-(t - t_i)/tau)` over the spikes of s and of target: 0 where they are equal,
    1/2 for each spike that is missing or too many and far from others.

    Args:
        s: output spikes `[T, B, *features]`.
        target: spikes of the same shape; with `first="batch"` `[B, T, *features]`, as a loader
            gives them: `fit(objective=functools.partial(van_rossum, tau=10.0, first="batch"))`.
        tau: time constant of the exponentials (ms). A spike that is further than some tau from
            its target does not see it: begin with a tau of the size of the errors.
        dt: time step (ms).
        first: which axis of target comes first.
        lengths: int64 `[B]`, the steps of every sample, None for T each: what stands behind them,
            of s and of target, does not count.
    Returns:
        the loss, a scalar; its gradient goes to s by the surrogate, and to target if it asks.
    Raises:
        UserError: other shapes (also those of chunks: not with truncated BPTT), tau <= 0, spikes
            that are negative or not finite.
    Source: van Rossum (2001), Neural Computation 13(4); as a loss: Zenke & Ganguli (2018), Neural
        Computation 30(6), with another kernel.

    >>> import torch
    >>> s, target = torch.zeros(50, 1, 2), torch.zeros(50, 1, 2)
    >>> s[10, 0, 0] = 1.0; target[15, 0, 0] = 1.0
    >>> round(van_rossum(s, target, tau=10.0).item(), 4)      # (1 - exp(-5/10) + 0) / 2
    0.1967
    """
    check_choice(first, "first", ("time", "batch"))
    check_current(s, name="s")
    wanted = target.transpose(0, 1) if first == "batch" and target.dim() > 1 else target
    if wanted.shape != s.shape:
        shape = list(s.shape) if first == "time" else [s.shape[1], s.shape[0], *s.shape[2:]]
        expected = f"expected target of shape {shape} for s {list(s.shape)} and first={first!r}"
        remedy = 'a target [B, T, ...] needs first="batch"; truncated BPTT does not go with it'
        raise UserError(message(expected, str(list(target.shape)), remedy))
    wanted = wanted.to(s.device)
    if lengths is not None:
        own = check_lengths(lengths, *s.shape[:2]).to(s.device)
        real = mask_of(own, len(s)).reshape(*s.shape[:2], *[1] * (s.dim() - 2))
        s, wanted = torch.where(real, s, 0), torch.where(real, wanted, 0)
    return van_rossum_squared(s, wanted, tau=tau, dt=dt).mean()
