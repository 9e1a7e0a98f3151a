"""Encoders: values to currents or spikes over time.

Static values `[B, *features]` become `[T, B, *features]`; `delta` reads a sequence.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from spikegrad.checks import check_choice, check_current, check_positive, check_steps
from spikegrad.errors import UserError, message

__all__ = ["delta", "direct", "latency", "poisson"]


def direct(x: Tensor, steps: int) -> Tensor:
    """The same values at every step, as an `expand`ed view: no memory, stride 0 over time.

    x: `[B, *features]`. Returns `[steps, B, *features]`.

    >>> direct(torch.ones(2, 3), 10).shape, direct(torch.ones(2, 3), 10).stride(0)
    (torch.Size([10, 2, 3]), 0)
    """
    check_steps(steps, "steps", least=1)
    return x.unsqueeze(0).expand(steps, *x.shape)


def poisson(
    x: Tensor, steps: int, *, rate: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Independent spikes with probability `rate * x` per step (a Bernoulli approximation).

    x: intensities in [0, 1], `[B, *features]`; rate: spikes per step at intensity 1, in (0, 1].
    Returns 0/1 of x's dtype, `[steps, B, *features]`.
    Raises UserError for intensities outside [0, 1].

    >>> poisson(torch.tensor([[0.0, 1.0]]), 3).flatten().tolist()
    [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    """
    check_steps(steps, "steps", least=1)
    check_intensity(x)
    if not 0.0 < rate <= 1.0:
        raise UserError(message("expected rate in (0, 1] spikes per step", str(rate)))
    noise = torch.rand((steps, *x.shape), device=x.device, dtype=x.dtype, generator=generator)
    return (noise < rate * x).to(x.dtype)


def latency(x: Tensor, steps: int, *, tau: float | None = None, threshold: float = 0.01) -> Tensor:
    """One spike per value, the earlier the larger it is; none below the threshold.

    Linear by default, `t = (1 - x)/(1 - threshold) * (steps - 1)`; with tau (in steps) the time at
    which a leaky membrane driven by x crosses the threshold, `t = tau ln(x / (x - threshold))`.

    x: intensities in [0, 1], `[B, *features]`. Returns 0/1, `[steps, B, *features]`.
    Source: Zenke & Vogels (2021), Neural Computation 33(4), "time-to-first-spike".

    >>> latency(torch.tensor([[1.0, 0.0]]), 3).squeeze(1).tolist()
    [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """
    check_steps(steps, "steps", least=1)
    check_intensity(x)
    if not 0.0 < threshold < 1.0:
        raise UserError(message("expected threshold between 0 and 1", str(threshold)))
    check_positive(tau, "tau", unit="steps")
    fires = x > threshold
    if tau is None:
        time = (1.0 - x) / (1.0 - threshold) * (steps - 1)
    else:
        safe = torch.where(fires, x, torch.ones_like(x))
        time = tau * torch.log(safe / (safe - threshold))
        fires = fires & (time.round() < steps)
    grid = torch.arange(steps, device=x.device).reshape(-1, *[1] * x.dim())
    return ((grid == time.round()) & fires).to(x.dtype)


def delta(x: Tensor, *, threshold: float = 0.1, polarity: Literal["on", "both"] = "both") -> Tensor:
    """Send on delta: a spike whenever the signal has moved by the threshold since the last spike.

    x: a signal over time `[T, B, *features]`; the first value is the reference. "both" puts the
    OFF events (falling) behind the ON events, along the last dimension.
    Returns 0/1, `[T, B, *features]`, with "both" the last dimension doubled.

    >>> signal = torch.tensor([0.0, 1.0, 1.0, 0.0]).reshape(4, 1, 1)
    >>> delta(signal, threshold=0.5).squeeze(1).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    """
    check_current(x)
    check_positive(threshold, "threshold")
    check_choice(polarity, "polarity", ("on", "both"))
    reference, on, off = x[0], [], []
    for x_t in x.unbind(0):
        rises, falls = x_t - reference >= threshold, reference - x_t >= threshold
        reference = torch.where(rises | falls, x_t, reference)
        on.append(rises)
        off.append(falls)
    up = torch.stack(on).to(x.dtype)
    return up if polarity == "on" else torch.cat([up, torch.stack(off).to(x.dtype)], dim=-1)


def check_intensity(x: Tensor) -> None:
    """Values between 0 and 1."""
    if not x.is_floating_point():
        raise TypeError(message("expected x of a floating dtype", str(x.dtype), "use x.float()"))
    if x.numel() and not bool(((x >= 0) & (x <= 1)).all()):
        raise UserError(
            message(
                "expected intensities between 0 and 1",
                f"values from {x.min().item():g} to {x.max().item():g}",
                "scale the input, or encode it directly",
            )
        )
