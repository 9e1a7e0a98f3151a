"""How much the neurons of a population fire together."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from spikegrad.analysis.counts import windows_of
from spikegrad.analysis.trains import check_spikes, computed_in, steps_of
from spikegrad.checks import check_current, check_finite, check_positive
from spikegrad.errors import UserError, message

__all__ = ["chi", "correlation", "mean_correlation"]


def correlation(spikes: Tensor, *, window: float, dt: float = 1.0) -> Tensor:
    """Pearson's correlation of the binned counts of every two neurons.

    Args:
        spikes: `[T, B, *features]`; the features are flattened to N neurons, N >= 2.
        window: length of a bin (ms), a whole number of steps.
        dt: time step (ms).
    Returns:
        `[B, N, N]`, symmetric, 1 on the diagonal; NaN for a neuron whose count never changes.
    Raises:
        UserError: fewer than two neurons or two bins, or what `counts` refuses.
    Source: Perkel, Gerstein & Moore (1967), Biophysical J. 7(4); with bins: de la Rocha et al.
        (2007), Nature 448.

    >>> import torch
    >>> s = torch.tensor([[1.0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 1]]).reshape(4, 1, 3)
    >>> correlation(s, window=1.0)[0].round(decimals=4)
    tensor([[ 1.,  1., -1.],
            [ 1.,  1., -1.],
            [-1., -1.,  1.]])
    """
    binned = population(check_spikes(spikes, dt), window, dt)
    centred = (binned - binned.mean(0)).movedim(0, 1)
    with unless_half(centred):
        covariance = centred.transpose(1, 2) @ centred
    spread = covariance.diagonal(dim1=1, dim2=2).sqrt()
    # Rounding could give it a spread that is tiny and not 0.
    spread = spread.masked_fill((binned == binned[0]).all(0), float("nan"))
    return (covariance / (spread.unsqueeze(1) * spread.unsqueeze(2))).clamp(-1.0, 1.0)


def mean_correlation(spikes: Tensor, *, window: float, dt: float = 1.0) -> Tensor:
    """The mean of `correlation` over the pairs of different neurons, `[B]`.

    Pairs with a neuron whose count never changes are left out; NaN where no pair is left.
    Arguments: `correlation`.

    >>> import torch
    >>> s = torch.tensor([[1.0, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0]]).reshape(4, 1, 3)
    >>> round(mean_correlation(s, window=1.0).item(), 4)
    1.0
    """
    pairs = correlation(spikes, window=window, dt=dt)
    below = pairs.new_ones(pairs.shape[1:]).tril(-1).bool()
    return pairs[:, below].nanmean(1)


def chi(x: Tensor, *, window: float | None = None, dt: float = 1.0) -> Tensor:
    """Golomb's synchrony: `chi^2 = var_t(mean_n x) / mean_n var_t(x)`.

    1 where all neurons do the same at the same time, about `1/sqrt(N)` for N independent ones.

    Args:
        x: a signal of every neuron, membranes or spikes, `[T, B, *features]`; the features are
            flattened to N neurons, N >= 2.
        window: sum x over bins of this length first (ms): spikes need it, since two spikes a step
            apart are not together without; None: x as it is.
        dt: time step (ms).
    Returns:
        chi `[B]`, 0 to 1; NaN where no signal changes.
    Raises:
        UserError: NaN in x, fewer than two neurons or two bins, a window longer than T.
    Source: Golomb & Rinzel (1994), Physica D 72(3); Golomb (2007), Scholarpedia 2(1):1347, with
        the square root; the idea for firing times: van Vreeswijk (1996), Physical Review E 54(5).

    >>> import torch
    >>> s = torch.zeros(20, 1, 4); s[::5] = 1.0                # all together
    >>> round(chi(s).item(), 4)
    1.0
    """
    check_current(x, name="x", floating=False)
    check_positive(dt, "dt", unit="ms")
    check_finite(x)
    signal = population(computed_in(x), window, dt)
    together = signal.mean(2).var(0, correction=0)
    still = (signal == signal[0]).all(0).all(1)
    share = together / signal.var(0, correction=0).mean(1)
    return share.sqrt().masked_fill(still, float("nan"))


def unless_half(x: Tensor) -> AbstractContextManager[object]:
    """A context without autocast, under which products of matrices are in half precision."""
    kind = x.device.type
    known = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if known else nullcontext()


def population(x: Tensor, window: float | None, dt: float) -> Tensor:
    """A signal `[T, B, *features]` summed over bins, `[W, B, N]`; two neurons and bins at least."""
    neurons = math.prod(x.shape[2:])
    if neurons < 2:
        expected = "expected at least 2 neurons, [T, B, *features]"
        raise UserError(message(expected, f"{neurons} in {list(x.shape)}"))
    length = 1 if window is None else steps_of(window, dt, x.shape[0])
    if x.shape[0] < 2 * length:
        expected = f"expected at least 2 bins of {length} steps"
        raise UserError(message(expected, f"T={x.shape[0]}", "take a shorter window"))
    return windows_of(x.flatten(2), length).sum(1)
