"""Slope schedules: pure functions of progress between two positive slopes."""

import pickle
from itertools import pairwise

import pytest

from spikegrad.errors import UserError
from spikegrad.surrogate import schedule
from spikegrad.surrogate.schedule import SCHEDULES

MOVING = sorted(set(SCHEDULES) - {"constant"})


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize(("start", "end"), [(1.0, 25.0), (25.0, 1.0), (2.0, 2.0)])
def test_goes_from_start_to_end_and_never_back(name, start, end):
    slope = schedule(name, start, end)
    values = [slope(i / 100) for i in range(101)]
    assert values[0] == pytest.approx(start)
    assert values[-1] == pytest.approx(end)
    steps = [b - a for a, b in pairwise(values)]
    assert all(step * (end - start) >= 0 for step in steps)
    assert min(values) >= min(start, end) * (1 - 1e-12)


def test_halfway():
    assert schedule("linear", 1.0, 9.0)(0.5) == 5.0
    assert schedule("geometric", 1.0, 9.0)(0.5) == pytest.approx(3.0)
    assert schedule("cosine", 1.0, 9.0)(0.5) == pytest.approx(5.0)
    assert schedule("cosine", 1.0, 9.0)(0.25) == pytest.approx(5.0 - 4.0 * 0.5**0.5)
    assert schedule("step", 1.0, 9.0)(0.49) == 1.0
    assert schedule("step", 1.0, 9.0)(0.5) == 9.0
    assert schedule("constant", 4.0)(0.3) == 4.0


def test_is_a_value():
    slope = schedule("geometric", 1, 9)
    assert slope == schedule("geometric", 1.0, 9.0) == pickle.loads(pickle.dumps(slope))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: schedule("liner", 1.0, 2.0), "did you mean 'linear'"),
        (lambda: schedule("linear", 0.0, 2.0), "start finite and positive"),
        (lambda: schedule("linear", 1.0, -2.0), "end finite and positive"),
        (lambda: schedule("linear", 1.0, float("nan")), "end finite and positive"),
        (lambda: schedule("constant", 1.0, 2.0), "end = start"),
        (lambda: schedule("linear", 1.0, 2.0)(1.1), r"progress in \[0, 1\]"),
        (lambda: schedule("linear", 1.0, 2.0)(-0.1), r"progress in \[0, 1\]"),
        (lambda: schedule("linear", 1.0, 2.0)(float("nan")), r"progress in \[0, 1\]"),
    ],
)
def test_refuses(make, says):
    with pytest.raises(UserError, match=says):
        make()
