"""Distances of van Rossum and of Victor and Purpura against closed forms and plain programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from spikegrad import analysis
from spikegrad.errors import UserError

EPS = 1e-12


def at(*steps: int, length: int = 200) -> torch.Tensor:
    """One train `[T, 1]` with spikes at these steps."""
    s = torch.zeros(length, 1, dtype=torch.float64)
    for step in steps:
        s[step] += 1.0
    return s


def trains(p: float, *shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator) < p).double()


def times(train: torch.Tensor, dt: float) -> list[float]:
    """The times (ms) of the spikes of one train, one twice that counts twice."""
    return [dt * t for t, n in enumerate(train.tolist()) for _ in range(int(n))]


# van Rossum


@pytest.mark.parametrize("dt", [1.0, 0.1])
@pytest.mark.parametrize("d", [1, 5, 150])
def test_two_single_spikes_have_a_closed_form(d: int, dt: float) -> None:
    """D^2 = 1 - exp(-d/tau), in trains of 300 steps, which is no power of two."""
    for tau in (0.5, 10.0, 1000.0):
        for start in (0, 120, 49):
            a, b = at(start, length=300), at(start + d, length=300)
            got = analysis.van_rossum_squared(a, b, tau=tau, dt=dt).item()
            assert got == pytest.approx(-math.expm1(-d * dt / tau), rel=1e-10)
            root = analysis.van_rossum_distance(b, a, tau=tau, dt=dt).item()
            assert root == pytest.approx(math.sqrt(got))


def test_one_spike_more_is_a_half_wherever_it_is() -> None:
    """The normalisation of the paper; the integral goes on behind the last step."""
    for step in (0, 100, 199):
        squared = analysis.van_rossum_squared(at(step), at(), tau=30.0)
        assert squared.item() == pytest.approx(0.5)
    assert analysis.van_rossum_squared(at(5, 5), at(), tau=30.0).item() == pytest.approx(2.0)


def test_random_trains_against_the_sum_over_pairs() -> None:
    """D^2 = 1/2 sum over all pairs of spikes of +-exp(-|t_i - t_j|/tau), by NumPy."""
    a, b = trains(0.1, 300, 2, 2), trains(0.1, 300, 2, 2, seed=1) + trains(0.05, 300, 2, 2)
    got = analysis.van_rossum_squared(a, b, tau=7.0, dt=0.5)
    assert got.shape == (2, 2)
    for place in np.ndindex(2, 2):
        here = (slice(None), *place)
        first, second = times(a[here], 0.5), times(b[here], 0.5)
        t, sign = np.array(first + second), np.array([1] * len(first) + [-1] * len(second))
        pairs = np.exp(-np.abs(t[:, None] - t) / 7.0) * sign[:, None] * sign
        assert got[place].item() == pytest.approx(pairs.sum() / 2)


def test_the_integral_is_scipys() -> None:
    first, second, tau = [3.0, 9.0], [4.0, 15.0, 16.0], 6.0

    def apart(t: float) -> float:
        f = sum(math.exp(-(t - i) / tau) for i in first if i <= t)
        return (f - sum(math.exp(-(t - i) / tau) for i in second if i <= t)) ** 2 / tau

    edges = [0, *sorted(first + second), 200]
    want = sum(quad(apart, low, high)[0] for low, high in pairwise(edges))
    a, b = at(3, 9, length=20), at(4, 15, 16, length=20)
    assert analysis.van_rossum_squared(a, b, tau=tau).item() == pytest.approx(want)


def test_tau_goes_from_coincidences_to_numbers() -> None:
    a, b = at(10, 50, 90), at(10, 60)
    assert analysis.van_rossum_squared(a, b, tau=1e-2).item() == pytest.approx(3 / 2)
    assert analysis.van_rossum_squared(a, b, tau=1e9).item() == pytest.approx(1 / 2)


def test_van_rossum_is_a_distance_and_has_gradients() -> None:
    a, b, c = (trains(0.2, 150, 1, 40, seed=i) for i in range(3))
    d = {
        (i, j): analysis.van_rossum_distance(x, y, tau=12.0)
        for i, x in enumerate((a, b, c))
        for j, y in enumerate((a, b, c))
    }
    assert (d[0, 0] == 0).all()
    torch.testing.assert_close(d[0, 1], d[1, 0])
    assert (d[0, 1] > 0).all()
    assert (d[0, 2] <= d[0, 1] + d[1, 2] + EPS).all()
    x, y = (torch.rand(6, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for measure in (analysis.van_rossum_distance, analysis.van_rossum_squared):
        assert torch.autograd.gradcheck(lambda x, y, m=measure: m(x, y, tau=3.0, dt=0.5), (x, y))
    assert torch.autograd.gradcheck(lambda x: analysis.filtered(x, tau=3.0), (x,))


def test_the_gradient_of_equal_trains_is_zero_and_not_nan() -> None:
    a = at(3, 8).requires_grad_()
    analysis.van_rossum_distance(a, at(3, 8), tau=5.0).sum().backward()
    assert (a.grad == 0).all()


def test_filtered_is_the_recursion() -> None:
    s = torch.randn(150, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    got = analysis.filtered(s, tau=20.0, dt=0.5)
    assert torch.equal(analysis.filtered(s[:1], tau=20.0), s[:1])
    f = torch.zeros(2, 2, dtype=torch.float64)
    for t in range(150):
        f = f * math.exp(-0.5 / 20.0) + s[t]
        torch.testing.assert_close(got[t], f)


def test_autocast_changes_no_bit() -> None:
    """A product of matrices would have been in bfloat16."""
    a, b = trains(0.1, 150, 3, 2).float(), trains(0.1, 150, 3, 2, seed=1).float()
    want = analysis.van_rossum_distance(a, b, tau=10.0)
    alike = analysis.correlation(a, window=5.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(analysis.van_rossum_distance(a, b, tau=10.0), want)
        assert torch.equal(analysis.correlation(a, window=5.0), alike)


# Victor and Purpura


def cheapest(a: Sequence[float], b: Sequence[float], q: float) -> float:
    """The plain program: every G[i][j] in its turn."""
    g = [[float(i + j) for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            move = g[i - 1][j - 1] + q * abs(a[i - 1] - b[j - 1])
            g[i][j] = min(g[i - 1][j] + 1, g[i][j - 1] + 1, move)
    return g[-1][-1]


@pytest.mark.parametrize("q", [0.0, 0.05, 0.3, 50.0])
def test_two_single_spikes_cost_a_move_or_two_changes(q: float) -> None:
    for d in (0, 3, 60):
        got = analysis.victor_purpura_distance(at(10), at(10 + d), q=q, dt=0.5).item()
        assert got == pytest.approx(min(q * 0.5 * d, 2.0))


@pytest.mark.parametrize("q", [0.0, 0.02, 0.2, 5.0])
def test_random_trains_against_the_plain_program(q: float) -> None:
    """Trains of many lengths at once, empty ones and counts of two among them."""
    a, b = trains(0.1, 60, 4, 3), trains(0.2, 60, 4, 3, seed=1) + trains(0.05, 60, 4, 3, seed=2)
    a[:, 0, 0], b[:, 0, 1], a[:, 0, 2], b[:, 0, 2] = 0.0, 0.0, 0.0, 0.0
    got = analysis.victor_purpura_distance(a, b, q=q, dt=2.0)
    for place in np.ndindex(4, 3):
        here = (slice(None), *place)
        want = cheapest(times(a[here], 2.0), times(b[here], 2.0), q)
        assert got[place].item() == pytest.approx(want, abs=1e-9)


def test_victor_purpura_is_a_distance() -> None:
    a, b, c = (trains(0.2, 80, 1, 40, seed=i) for i in range(3))
    for q in (0.05, 0.4):
        ab = analysis.victor_purpura_distance(a, b, q=q)
        assert (analysis.victor_purpura_distance(a, a, q=q) == 0).all()
        torch.testing.assert_close(ab, analysis.victor_purpura_distance(b, a, q=q))
        assert (ab > 0).all()
        ac, bc = (analysis.victor_purpura_distance(x, c, q=q) for x in (a, b))
        assert (ac <= ab + bc + EPS).all()


def test_the_limits_of_q() -> None:
    a, b = trains(0.2, 80, 1, 10), trains(0.3, 80, 1, 10, seed=1)
    numbers = (a.sum(0) - b.sum(0)).abs()
    torch.testing.assert_close(analysis.victor_purpura_distance(a, b, q=0.0), numbers)
    apart = (a - b).abs().sum(0)
    torch.testing.assert_close(analysis.victor_purpura_distance(a, b, q=2.0), apart)


# Wrong input


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda a: analysis.van_rossum_distance(a, a, tau=0.0), UserError, "finite tau > 0 ms"),
        (lambda a: analysis.van_rossum_distance(a, a, tau=-1.0), UserError, "tau > 0 ms, got -1.0"),
        (lambda a: analysis.van_rossum_distance(a, a, tau=math.nan), UserError, "got nan"),
        (
            lambda a: analysis.van_rossum_distance(a, a[:5], tau=1.0),
            UserError,
            "b of shape [200, 1]",
        ),
        (lambda a: analysis.van_rossum_distance(a, a / 0, tau=1.0), UserError, "b to be finite"),
        (lambda a: analysis.van_rossum_distance(a[:, 0], a, tau=1.0), UserError, "rank >= 2"),
        (lambda a: analysis.van_rossum_distance(a, -a, tau=1.0), UserError, "expected b >= 0"),
        (lambda a: analysis.filtered(a, tau=0.0), UserError, "finite tau > 0 ms, got 0.0"),
        (lambda a: analysis.victor_purpura_distance(a, a, q=-0.1), UserError, "q >= 0 (1/ms)"),
        (lambda a: analysis.victor_purpura_distance(a, a, q=math.inf), UserError, "finite q >= 0"),
        (lambda a: analysis.victor_purpura_distance(a, a, q=math.nan), UserError, "finite q >= 0"),
        (lambda a: analysis.victor_purpura_distance(a, a, q="1"), TypeError, "q as a number"),
        (lambda a: analysis.victor_purpura_distance(a, a / 2, q=1.0), UserError, "in b, got 0.5"),
        (lambda a: analysis.victor_purpura_distance(a, a[:9], q=1.0), UserError, "b of shape"),
    ],
)
def test_wrong_input_is_one_line(call, error: type, words: str) -> None:
    with pytest.raises(error) as caught:
        call(at(10))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
