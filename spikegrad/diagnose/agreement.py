"""How well one gradient agrees with another that is known by random draws.

For independent draws (S_m, G_m) of two vectors whose means are wanted, products of different draws
have no bias: <S, G> is the mean of S_m G_n over m != n, |G|^2 that of G_m G_n, and |S - G|^2 that
of (S_m - G_m)(S_n - G_n), in which the noise that both share cancels. Intervals are those of the
jackknife over draws, with Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Agreement", "Estimate", "agreement", "exact_agreement"]

T: tuple[float, ...] = (
    math.inf,
    math.inf,
    12.71,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
)
T = (*T, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120)
"""The 97.5 % quantile of Student's t by the number of draws, one more than its degrees."""
DECIDED = 2.0
"""Standard errors beyond which the sign of a mean is known."""


@dataclass(frozen=True)
class Estimate:
    """A figure, and the half-width of its 95 % interval: 0 where it is exact."""

    value: float
    error: float = 0.0

    @property
    def low(self) -> float:
        """The lower end."""
        return self.value - self.error

    @property
    def high(self) -> float:
        """The upper end."""
        return self.value + self.error

    def text(self) -> str:
        """The figure with its interval.

        >>> Estimate(0.876, 0.021).text(), Estimate(0.5).text(), Estimate(0.3, 1.2).text()
        ('0.88 +- 0.02', '0.50', '?')
        """
        if math.isnan(self.value) or self.error >= 1.0:
            return "?"
        return f"{self.value:.2f}" + (f" +- {self.error:.2f}" if self.error else "")


@dataclass(frozen=True)
class Agreement:
    """Two gradients of one layer.

    cosine: of the angle between them; bias: length of the difference over that of the true one;
    sign: share of parameters on whose sign they agree, of those whose signs are known; decided:
    the share whose signs are known.
    """

    cosine: Estimate
    bias: Estimate
    sign: float
    decided: float


def exact_agreement(found: Tensor, true: Tensor) -> Agreement:
    """Of two vectors that are known.

    >>> exact_agreement(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0])).cosine.text()
    '0.71'
    """
    lengths = float(found.norm() * true.norm())
    cosine = float(found @ true) / lengths if lengths else math.nan
    bias = float((found - true).norm() / true.norm()) if bool(true.any()) else math.nan
    known = (found != 0) & (true != 0)
    same = (
        float((found.sign() == true.sign())[known].double().mean())
        if bool(known.any())
        else math.nan
    )
    return Agreement(Estimate(cosine), Estimate(bias), same, float(known.double().mean()))


def agreement(found: Tensor, true: Tensor) -> Agreement:
    """Of the means of two samples of vectors, `[M, n]` each, draw by draw; M of 3 or more.

    found may be one known vector `[n]`.
    """
    draws = len(true)
    samples = found.expand(draws, -1) if found.dim() == 1 else found
    ss, sg, gg = samples @ samples.T, samples @ true.T, true @ true.T
    difference = samples - true
    dd = difference @ difference.T
    fixed = found.dim() == 1

    def cosine(keep: Tensor) -> float:
        own = float(ss[0, 0]) if fixed else across(ss, keep)
        length = own * across(gg, keep)
        product = float(sg[0, keep].mean()) if fixed else across(sg, keep)
        return product / math.sqrt(length) if length > 0 else math.nan

    def bias(keep: Tensor) -> float:
        whole = across(gg, keep)
        return math.sqrt(max(across(dd, keep), 0.0) / whole) if whole > 0 else math.nan

    angle = jackknife(cosine, draws)
    if not math.isnan(angle.value):  # an estimate may lie a little outside of what is possible
        angle = Estimate(max(-1.0, min(1.0, angle.value)), angle.error)
    return Agreement(angle, jackknife(bias, draws), *signs(samples, true))


def across(products: Tensor, keep: Tensor) -> float:
    """The mean product of different draws among those kept."""
    part = products[keep][:, keep]
    n = len(keep)
    return float((part.sum() - part.diagonal().sum()) / (n * (n - 1)))


def jackknife(figure: Callable[[Tensor], float], draws: int) -> Estimate:
    """A figure of all draws, and its interval from leaving out each."""
    every = torch.arange(draws)
    value = figure(every)
    parts = [figure(every[every != m]) for m in range(draws)]
    if any(math.isnan(part) for part in (value, *parts)):
        return Estimate(math.nan, math.inf)
    centre = sum(parts) / draws
    spread = math.sqrt((draws - 1) / draws * sum((part - centre) ** 2 for part in parts))
    return Estimate(value, T[min(draws, len(T) - 1)] * spread)


def signs(found: Tensor, true: Tensor) -> tuple[float, float]:
    """The share of parameters on whose sign both means agree, and the share that is decided."""
    known = torch.ones(found.shape[1], dtype=torch.bool)
    means = found.mean(0), true.mean(0)
    for sample, mean in zip((found, true), means, strict=True):
        # Not std(0), which takes several times as long along the first axis.
        variance = (sample - mean).square().sum(0) / (len(sample) - 1)
        known &= mean.abs() > DECIDED * (variance / len(sample)).sqrt()
    if not bool(known.any()):
        return math.nan, 0.0
    same = means[0].sign() == means[1].sign()
    return float(same[known].double().mean()), float(known.double().mean())
