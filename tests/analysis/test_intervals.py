"""Inter-spike intervals and their variation against loops over spike times, and closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch

from spikegrad import analysis
from spikegrad.errors import UserError


def trains(p: float, *shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator) < p).double()


def gaps(train: torch.Tensor, dt: float) -> np.ndarray:
    """The intervals of one train, by NumPy."""
    return np.diff(np.flatnonzero(train.numpy())) * dt


def cv2_loop(i: np.ndarray) -> float:
    return float(np.mean([2 * abs(b - a) / (a + b) for a, b in pairwise(i)]))


def lv_loop(i: np.ndarray) -> float:
    terms = [((a - b) / (a + b)) ** 2 for a, b in pairwise(i)]
    return 3 * sum(terms) / (len(i) - 1)


@pytest.mark.parametrize("dt", [1.0, 0.25])
def test_every_train_against_loops(dt: float) -> None:
    s = trains(0.15, 80, 4, 3)
    s[:, 0, 0], s[:, 0, 1], s[:, 0, 2] = 0.0, 0.0, 0.0
    s[7, 0, 1] = 1.0  # one spike
    s[[3, 9], 0, 2] = 1.0  # one interval
    got = analysis.intervals(s, dt=dt)
    measures = {
        analysis.cv: scipy.stats.variation,
        analysis.cv2: cv2_loop,
        analysis.local_variation: lv_loop,
    }
    found = {measure: measure(s, dt=dt) for measure in measures}
    for place in np.ndindex(4, 3):
        here = (slice(None), *place)
        want = gaps(s[here], dt)
        np.testing.assert_allclose(got[here][: len(want)], want)
        assert got[here][len(want) :].isnan().all()
        for measure, reference in measures.items():
            if len(want) < 2:
                assert found[measure][place].isnan(), "too few intervals to vary"
            else:
                assert found[measure][place].item() == pytest.approx(reference(want))


def test_a_regular_train_does_not_vary() -> None:
    clock = torch.zeros(500, 1)
    clock[3::7] = 1.0
    assert analysis.intervals(clock, dt=0.5).unique().tolist() == [3.5]
    for measure in (analysis.cv, analysis.cv2, analysis.local_variation):
        assert measure(clock).item() == 0.0


@pytest.mark.parametrize("p", [0.01, 0.3])
def test_random_trains_vary_as_geometric_intervals_do(p: float) -> None:
    """CV = sqrt(1 - p) for a spike with probability p a step; CV = CV2 = LV = 1 as p goes to 0."""
    s = trains(p, int(500 / p), 10)
    n = 10 * 500
    assert analysis.cv(s).mean().item() == pytest.approx(math.sqrt(1 - p), abs=5 / math.sqrt(n))
    if p < 0.1:
        for measure in (analysis.cv2, analysis.local_variation):
            assert measure(s).mean().item() == pytest.approx(1.0, abs=p + 5 / math.sqrt(n))


def test_no_spikes_at_all() -> None:
    s = torch.zeros(5, 2, 3)
    assert analysis.intervals(s).shape == (0, 2, 3)
    assert analysis.intervals(s + torch.eye(5)[0, :, None, None]).shape == (0, 2, 3)
    for measure in (analysis.cv, analysis.cv2, analysis.local_variation):
        assert measure(s).shape == (2, 3)
        assert measure(s).isnan().all()


@pytest.mark.parametrize("measure", [analysis.intervals, analysis.cv, analysis.local_variation])
def test_what_has_no_intervals_is_said(measure) -> None:
    with pytest.raises(UserError, match=r"whole numbers of spikes in spikes, got 0\.5"):
        measure(torch.full((4, 1), 0.5))
    with pytest.raises(UserError, match="at most 1 spike per step in spikes, got 2"):
        measure(torch.full((4, 1), 2))
