"""What numbers of the same seeds say: spread, differences, and who is shown to be better.

Two variants are compared seed by seed (d_i = a_i - b_i), since a seed decides the split, the order
of the samples and the start of both. The test is the **paired t-test**: t = mean(d) sqrt(n) /
sd(d), n - 1 degrees of freedom. Tests of ranks and signs cannot go below p = 2^(1-n), 0.06 for five
seeds, so that they would never show a difference there. Where all d_i are equal, t has no scale,
and this smallest p of the sign test is taken instead. The p-values of all pairs are adjusted
together by **Holm's method**: with a probability of at least 95 %, no difference is shown that is
none.

Source: Student (1908), Biometrika 6; Holm (1979), Scandinavian Journal of Statistics 6.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spikegrad.compare.student import quantile, two_sided

__all__ = ["LEVEL", "TEST", "Pair", "Ranked", "Spread", "holm", "paired", "ranked", "spread"]

LEVEL = 0.05
"""A difference is shown where the adjusted p-value is below this."""
TEST = "paired t-test over the seeds, all pairs, Holm's correction"

BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Spread:
    """n numbers: their mean, their standard deviation (None for one), and half of the 95 %
    interval of the mean (None for one).
    """

    n: int
    mean: float
    sd: float | None
    half: float | None


@dataclass(frozen=True)
class Pair:
    """Variant `a` minus variant `b` (their positions) over the seeds that both have.

    n: these seeds; difference: its mean; half: half of its 95 % interval; p: of the paired test;
    adjusted: by Holm's method over all pairs. The last three are None below two seeds.
    """

    a: int
    b: int
    n: int
    difference: float | None
    half: float | None
    p: float | None
    adjusted: float | None = None

    @property
    def shown(self) -> bool:
        """Whether a difference is shown."""
        return self.adjusted is not None and self.adjusted < LEVEL


@dataclass(frozen=True)
class Ranked:
    """A variant in the ranking.

    place: its position in what was given; rank: 1 + how many variants are shown to be better, None
    without a number; best: its pair with the one of the best mean, None for that one itself.
    """

    place: int
    rank: int | None
    spread: Spread | None
    best: Pair | None


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and spread of some numbers; None of none.

    >>> spread([1.0, 3.0])
    Spread(n=2, mean=2.0, sd=1.4142135623730951, half=12.706204736174...)
    """
    if not values:
        return None
    n, mean = len(values), statistics.fmean(values)
    if n < 2:
        return Spread(n, mean, None, None)
    sd = statistics.stdev(values)
    return Spread(n, mean, sd, quantile(1 - LEVEL, n - 1) * sd / math.sqrt(n))


def paired(a: BySeed, b: BySeed, places: tuple[int, int] = (0, 1)) -> Pair:
    """The paired t-test of two variants.

    Args:
        a, b: a number by seed each; only the seeds that both have are compared.
        places: their positions, for the result.
    Returns:
        the `Pair`, not adjusted yet.

    >>> round(paired({0: 0.9, 1: 0.8, 2: 0.95}, {0: 0.7, 1: 0.65, 2: 0.7}).p, 4)
    0.0202
    """
    differences = [a[seed] - b[seed] for seed in a if seed in b]
    found = spread(differences)
    if found is None or found.sd is None or found.half is None:
        return Pair(*places, len(differences), found.mean if found else None, None, None)
    if found.sd > 1e-12 * max(1e-300, *map(abs, differences)):  # more than rounding
        p = two_sided(found.mean * math.sqrt(found.n) / found.sd, found.n - 1)
    else:
        p = 2.0 ** (1 - found.n) if found.mean else 1.0
    return Pair(*places, found.n, found.mean, found.half, p)


def holm(p: Sequence[float]) -> list[float]:
    """The p-values adjusted for all of them together.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p)), key=p.__getitem__)
    found, least = [0.0] * len(p), 0.0
    for step, i in enumerate(order):
        least = max(least, min(1.0, (len(p) - step) * p[i]))
        found[i] = least
    return found


def ranked(variants: Sequence[BySeed], *, larger: bool) -> tuple[list[Ranked], list[Pair]]:
    """The variants from the best mean to the worst, and all pairs of them.

    Args:
        variants: a number by seed each; one without numbers comes last, unranked.
        larger: whether larger is better.

    >>> first, second = ranked([{0: 0.5, 1: 0.6}, {0: 0.9, 1: 0.8}], larger=True)[0]
    >>> first.place, first.rank, second.rank, second.best.shown  # two seeds show little
    (1, 1, 1, False)
    """
    spreads = [spread(list(values.values())) for values in variants]
    pairs = _adjusted(
        [
            paired(variants[i], variants[j], (i, j))
            for i in range(len(variants))
            for j in range(i + 1, len(variants))
        ]
    )
    sign = -1.0 if larger else 1.0
    have = [i for i, found in enumerate(spreads) if found is not None]
    have.sort(key=lambda i: (sign * _mean(spreads[i]), i))
    beaten = dict.fromkeys(have, 0)
    for pair in pairs:
        if pair.shown and pair.difference is not None:
            beaten[pair.b if (pair.difference > 0) == larger else pair.a] += 1
    rows = []
    for i in have:
        best = next((p for p in pairs if {p.a, p.b} == {i, have[0]}), None)
        rows.append(Ranked(i, 1 + beaten[i], spreads[i], best and _from(best, i)))
    rows += [Ranked(i, None, None, None) for i, found in enumerate(spreads) if found is None]
    return rows, pairs


def _mean(found: Spread | None) -> float:
    assert found is not None
    return found.mean


def _adjusted(pairs: list[Pair]) -> list[Pair]:
    """The pairs with their p-values adjusted; those without one stay as they are."""
    tested = [pair for pair in pairs if pair.p is not None]
    values = dict(zip(map(id, tested), holm([pair.p or 0.0 for pair in tested]), strict=True))
    return [
        Pair(p.a, p.b, p.n, p.difference, p.half, p.p, values[id(p)]) if id(p) in values else p
        for p in pairs
    ]


def _from(pair: Pair, a: int) -> Pair:
    """The pair as variant `a` minus the other one."""
    if pair.a == a:
        return pair
    turned = None if pair.difference is None else -pair.difference
    return Pair(pair.b, pair.a, pair.n, turned, pair.half, pair.p, pair.adjusted)
