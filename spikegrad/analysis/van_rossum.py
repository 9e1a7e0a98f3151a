"""The distance of van Rossum: how far apart two trains are when each spike is an exponential."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.analysis.filtered import beta_squared_gap, filtered
from spikegrad.analysis.trains import check_pair
from spikegrad.checks import check_positive

__all__ = ["van_rossum_distance", "van_rossum_squared"]


def van_rossum_distance(a: Tensor, b: Tensor, *, tau: float, dt: float = 1.0) -> Tensor:
    """The distance D of every train of a from that of b.

    `D^2 = 1/tau integral_0^inf (f(t) - g(t))^2 dt`, where f and g are the sums of
    `exp(-(t - t_i)/tau)` over the spikes before t. The integral is exact: time goes on after the
    last step, and nothing is approximated inside a step.

    One spike more has D^2 = 1/2; two single spikes d ms apart have `D^2 = 1 - exp(-d/tau)`. A
    small tau counts spikes that do not coincide, a large one compares numbers of spikes.

    Args:
        a, b: spikes `[T, B, *features]`, of one shape.
        tau: time constant of the exponentials (ms); dt: time step (ms).
    Returns:
        D `[B, *features]`, without unit. Differentiable in both; the gradient at D = 0 is 0.
    Raises:
        UserError: other shapes, tau <= 0, spikes that are negative or not finite.
    Source: van Rossum (2001), Neural Computation 13(4), kernel and normalisation; Elephant's
        distance is sqrt(2) times as large, so that one spike more has D = 1.

    >>> a, b = torch.zeros(50, 1), torch.zeros(50, 1)
    >>> a[10] = 1.0; b[15] = 1.0
    >>> round(van_rossum_distance(a, b, tau=10.0).item() ** 2, 4)    # 1 - exp(-5/10)
    0.3935
    """
    squared = van_rossum_squared(a, b, tau=tau, dt=dt)
    apart = squared > 0
    # The root's own gradient at 0 is infinite, and infinite times 0 would be NaN.
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)


def van_rossum_squared(a: Tensor, b: Tensor, *, tau: float, dt: float = 1.0) -> Tensor:
    """D^2 of `van_rossum_distance`, which is smooth everywhere: the form for losses.

    Arguments, errors, source: `van_rossum_distance`. Returns D^2 `[B, *features]`.

    >>> a = torch.zeros(50, 1); a[10] = 1.0
    >>> round(van_rossum_squared(a, torch.zeros(50, 1), tau=10.0).item(), 4)
    0.5
    """
    check_positive(tau, "tau", unit="ms")
    one, other = check_pair(a, b, dt, names=("a", "b"))
    f = filtered(one - other, tau=tau, dt=dt)
    # Between two steps f only decays: the integral over a step is f^2 tau/2 (1 - beta^2), and
    # that over all time after the last step f^2 tau/2.
    inside = f[:-1].square().sum(0) * beta_squared_gap(tau, dt)
    return 0.5 * (inside + f[-1].square())
