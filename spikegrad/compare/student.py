"""Student's t distribution for whole degrees of freedom, in closed form.

SciPy has it for any number, but the paired test of `statistics.py` needs whole ones alone, and for
these the distribution is a finite sum: not worth a package of 35 MB. The tests compare with SciPy.

Source: Abramowitz & Stegun (1964), Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
"""

from __future__ import annotations

import math

__all__ = ["quantile", "two_sided"]


def two_sided(t: float, df: int) -> float:
    """The probability that |T| >= |t| for Student's t with `df` degrees of freedom.

    Args:
        t: the statistic; inf gives 0.
        df: degrees of freedom, a whole number >= 1.
    Returns:
        the p-value, in [0, 1]; its absolute error is about 1e-15.

    >>> round(two_sided(2.776445, 4), 6)
    0.05
    """
    assert df >= 1
    angle = math.atan2(abs(t), math.sqrt(df))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = df % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0
    for j in range(1, (df - 1) // 2 + 1 if odd else df // 2 + 1):
        total += term
        term *= cosine * cosine * ((2 * j) / (2 * j + 1) if odd else (2 * j - 1) / (2 * j))
    inside = 2.0 / math.pi * (angle + sine * total) if odd else sine * total
    return min(1.0, max(0.0, 1.0 - inside))


def quantile(p: float, df: int) -> float:
    """The t with P(|T| >= t) = 1 - p: half of a two-sided interval in standard errors.

    Args:
        p: the confidence, 0 < p < 1; df: degrees of freedom, a whole number >= 1.

    >>> round(quantile(0.95, 4), 3)
    2.776
    """
    assert 0.0 < p < 1.0
    low, high = 0.0, 1.0
    while two_sided(high, df) > 1.0 - p:
        high *= 2.0
    for _ in range(100):  # bisection: two_sided falls with t
        middle = 0.5 * (low + high)
        low, high = (middle, high) if two_sided(middle, df) > 1.0 - p else (low, middle)
    return 0.5 * (low + high)
