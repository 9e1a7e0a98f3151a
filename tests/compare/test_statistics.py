"""The paired test against SciPy, Holm's method against its definition, and the promise of both."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spikegrad.compare.statistics import LEVEL, holm, paired, ranked, spread
from spikegrad.compare.student import quantile, two_sided


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 10, 31, 200])
def test_students_distribution_is_scipys(df):
    for t in (0.0, 0.1, 1.0, 2.0, 3.5, 8.0, 40.0, -2.0):
        assert two_sided(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), abs=1e-14)
    assert two_sided(float("inf"), df) == pytest.approx(0.0, abs=1e-15)
    for p in (0.5, 0.95, 0.99):
        assert quantile(p, df) == pytest.approx(stats.t.ppf(0.5 + p / 2, df), rel=1e-10)


def test_a_pair_is_scipys_paired_test_over_the_seeds_that_both_have():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.9, 0.02, 8), rng.normal(0.88, 0.02, 8)
    found = paired(dict(enumerate(a)), {**dict(enumerate(b)), 99: 0.0})
    wanted = stats.ttest_rel(a, b)
    assert found.n == 8
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    low, high = wanted.confidence_interval(0.95)
    assert found.difference == pytest.approx((low + high) / 2)
    assert found.half == pytest.approx((high - low) / 2)
    mean = spread(list(a))
    low, high = stats.t.interval(0.95, 7, a.mean(), stats.sem(a))
    assert (mean.mean - mean.half, mean.mean + mean.half) == pytest.approx((low, high))


def test_equal_differences_have_the_p_of_the_sign_test():
    """t has no scale there: scipy gives 0, which five equal differences cannot show."""
    a = {seed: 0.1 + 0.01 * seed for seed in range(5)}
    found = paired(a, {seed: value - 0.02 for seed, value in a.items()})
    assert found.p == pytest.approx(stats.binomtest(5, 5).pvalue) == 2**-4
    assert paired(a, a).p == 1.0
    assert paired({0: 1.0}, {0: 2.0}).p is None
    assert paired({}, {}).difference is None


def test_holms_method():
    """The example of his table, by hand: 0.005, 0.01, 0.03, 0.04 of four tests."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_ranking_shows_what_is_clear_and_nothing_else():
    rng = np.random.default_rng(1)
    base = rng.normal(0, 0.01, 5)  # what the seed does to all
    worse = {s: 0.80 + base[s] + rng.normal(0, 0.004) for s in range(5)}
    one = {s: 0.95 + base[s] + rng.normal(0, 0.004) for s in range(5)}
    two = {s: 0.951 + base[s] + rng.normal(0, 0.004) for s in range(5)}
    rows, pairs = ranked([worse, one, {}, two], larger=True)
    assert {row.place for row in rows[:2]} == {1, 3}
    assert [r.rank for r in rows] == [1, 1, 3, None]
    assert rows[2].place == 0
    assert rows[2].best.shown
    assert rows[2].best.difference < -0.1
    assert rows[1].best.shown is False
    assert rows[1].best.difference <= 0
    assert rows[0].best is None
    assert rows[3].best is None
    assert rows[3].place == 2
    assert len(pairs) == 6
    assert sum(pair.shown for pair in pairs) == 2
    turned = ranked([worse, one, {}, two], larger=False)[0]
    assert turned[0].place == 0
    assert [row.rank for row in turned] == [1, 2, 2, None]


def test_without_a_difference_one_is_shown_in_at_most_five_of_hundred_comparisons():
    rng = np.random.default_rng(2)
    wrong, unadjusted, count = 0, 0, 300
    for _ in range(count):
        shared = rng.normal(0, 1, 5)
        values = [dict(enumerate(shared + rng.normal(0, 0.1, 5))) for _ in range(4)]
        pairs = ranked(values, larger=True)[1]
        wrong += any(pair.shown for pair in pairs)
        unadjusted += any(pair.p < LEVEL for pair in pairs)
    assert wrong / count < 0.08  # 0.05 and three standard errors
    assert unadjusted / count > 0.1  # what Holm's method is for
