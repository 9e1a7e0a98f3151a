"""Yin-yang and randman against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spikegrad.data import load, make_randman, make_yin_yang, seeds
from spikegrad.data.randman import embed
from spikegrad.data.yin_yang import classify
from spikegrad.errors import UserError


def _grid(n: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    middle = (np.arange(n) + 0.5) / n
    x, y = np.meshgrid(middle, middle)
    return x, y


def test_yin_yang_areas_have_their_closed_forms():
    kind = classify(*_grid())
    disc, dots = math.pi * 0.5**2, 2 * math.pi * 0.1**2
    want = {-1: 1.0 - disc, 0: (disc - dots) / 2, 1: (disc - dots) / 2, 2: dots}
    for c, area in want.items():
        assert abs(float((kind == c).mean()) - area) < 1e-3, c  # the grid's boundary cells


def test_yin_yang_turned_by_half_swaps_yin_and_yang():
    x, y = _grid(301)
    kind, turned = classify(x, y), classify(1.0 - x, 1.0 - y)
    swapped = np.select([turned == 0, turned == 1], [1, 0], turned)
    # Points on the line between the halves may round to either side.
    assert float((kind != swapped).mean()) < 1e-3


@pytest.mark.parametrize(
    ("x", "y", "kind"),
    [
        (0.25, 0.5, 2),
        (0.75, 0.5, 2),
        (0.75, 0.59, 2),
        (0.25, 0.65, 1),  # the head around the left dot
        (0.25, 0.35, 1),
        (0.75, 0.65, 0),  # the head around the right dot
        (0.75, 0.35, 0),
        (0.5, 0.9, 1),
        (0.5, 0.1, 0),
        (0.01, 0.01, -1),
    ],
)
def test_yin_yang_points_of_the_figure(x, y, kind):
    assert classify(np.array(x), np.array(y)) == kind


def test_yin_yang_has_the_labels_of_the_published_set():
    """Labels 0 and 1 were swapped. The first nine samples of the published test part."""
    x = [0.23409665, 0.75132902, 0.13832531, 0.11092332, 0.11271576, 0.2726103, 0.79650828]
    y = [0.40172498, 0.46824252, 0.57095397, 0.57982017, 0.52425268, 0.5351041, 0.41954214]
    x, y = [*x, 0.4139632, 0.20740371], [*y, 0.26677329, 0.55706968]
    assert classify(np.array(x), np.array(y)).tolist() == [2, 2, 1, 1, 1, 2, 2, 0, 2]


def test_yin_yang_samples_lie_in_their_class():
    task = make_yin_yang(samples=3000, test_samples=600, seed=4)
    assert task.test is not None
    for part in (task.train, task.test):
        x = part.x.double().numpy()
        assert x.shape[1] == 4
        np.testing.assert_allclose(x[:, :2] + x[:, 2:], 1.0, atol=1e-6)
        wrong = classify(x[:, 0], x[:, 1]) != part.y.numpy()
        assert wrong.mean() < 1e-3  # float32 may carry a point over a border
        assert part.y.bincount().tolist() == [len(part) // 3] * 3
    dots = task.train.x[task.train.y == 2, 0]
    assert abs(float((dots < 0.5).float().mean()) - 0.5) < 0.064  # both dots, 4 sd of 1,000


def test_yin_yang_depends_on_the_seed_alone_and_grows():
    small, large = make_yin_yang(samples=300), make_yin_yang(samples=9000)
    assert torch.equal(small.train.x, large.train.x[:300])
    assert torch.equal(small.train.y, large.train.y[:300])
    assert small.test is not None
    assert not torch.equal(small.train.x, make_yin_yang(samples=300, seed=1).train.x)
    assert not torch.isin(small.test.x[:, 0], large.train.x[:, 0]).all()


@pytest.mark.parametrize(
    "wrong", [{"samples": 2}, {"test_samples": 0}, {"small": 0.3}, {"small": 0}, {"seed": -1}]
)
def test_yin_yang_refuses(wrong):
    with pytest.raises(UserError, match="expected"):
        load("yin-yang", **wrong)


def test_embedding_is_the_formula():
    rng = np.random.default_rng(0)
    points, theta, alpha = rng.random((5, 2)), rng.random((3, 4, 2, 6)), 1.5
    want = np.ones((5, 4))
    for n in range(5):
        for i in range(4):
            for j in range(2):
                total = 0.0
                for k in range(1, 7):
                    a, b, c = theta[:, i, j, k - 1]
                    total += a / k**alpha * math.sin(2 * math.pi * (k * points[n, j] * b + c))
                want[n, i] *= total
    np.testing.assert_allclose(embed(points, theta, alpha), want, rtol=1e-10, atol=1e-12)


SMALL = {"classes": 3, "units": 8, "dim": 1, "steps": 200, "samples": 60, "test_samples": 20}


def test_randman_fires_each_unit_once():
    task = make_randman(**SMALL)
    assert task.sequence
    assert task.test is not None
    assert task.train.x.shape == (180, 200, 8)
    assert task.train.x.dtype == torch.uint8
    assert (task.features, task.steps, task.classes, task.images) == ((8,), 200, 3, False)
    for part in (task.train, task.test):
        assert part.x.sum(1).unique().tolist() == [1]
        assert part.scaled().max() == 1.0
    assert task.train.y.bincount().tolist() == [60] * 3


def _times(x: torch.Tensor) -> torch.Tensor:
    return x.argmax(1).float()


def test_randman_parts_share_manifolds_and_seeds_do_not():
    """A nearest neighbour in spike times knows the test part, unless the manifolds are others."""
    task, other = make_randman(**SMALL), make_randman(**SMALL, seed=1)
    assert task.test is not None
    test, truth = _times(task.test.x), task.test.y

    def accuracy(train):
        nearest = torch.cdist(test, _times(train.x)).argmin(1)
        return float((train.y[nearest] == truth).float().mean())

    assert accuracy(task.train) > 0.95
    assert accuracy(other.train) < 0.75


def test_randman_depends_on_the_seed_alone_and_parts_do_not_move_each_other():
    task, again = make_randman(**SMALL), make_randman(**SMALL)
    assert task.test is not None
    assert again.test is not None
    assert torch.equal(task.train.x, again.train.x)
    larger = make_randman(**{**SMALL, "samples": 70})
    assert larger.test is not None
    assert torch.equal(task.test.x, larger.test.x)
    assert torch.equal(task.train.x[:60], larger.train.x[:60])


def test_every_unit_of_every_class_uses_all_of_the_time():
    task = make_randman(**{**SMALL, "samples": 400})
    for c in range(3):
        times = _times(task.train.x[task.train.y == c])
        assert times.min(0).values.max() <= 10  # of 200: 400 points come near every extreme
        assert times.max(0).values.min() >= 189


def test_randman_never_draws_the_same_numbers_twice(monkeypatch):
    drawn = []
    uniform = seeds.uniform

    def watched(shape, *words):
        drawn.append(words)
        return uniform(shape, *words)

    monkeypatch.setattr(seeds, "uniform", watched)
    make_randman(**SMALL)
    assert len(drawn) == len(set(drawn)) == 3 * 4  # manifold, range, train, test of each class


def test_randman_gets_rougher_as_alpha_falls():
    def roughness(alpha):
        grid = np.linspace(0.0, 1.0, 400)[:, None]
        theta = np.random.default_rng(0).random((3, 20, 1, 30))
        value = embed(grid, theta, alpha)
        value = (value - value.min(0)) / np.ptp(value, axis=0)
        return float(np.abs(np.diff(value, axis=0)).sum(0).mean())

    assert roughness(0.5) > roughness(1.0) > roughness(2.0) > roughness(4.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": 1},
        {"units": 0},
        {"dim": 0},
        {"steps": 0},
        {"samples": 0},
        {"test_samples": 0.5},
        {"alpha": 0.0},
        {"alpha": math.nan},
        {"seed": -1},
    ],
)
def test_randman_refuses(wrong):
    with pytest.raises(UserError, match=f"expected {next(iter(wrong))}"):
        make_randman(**wrong)
