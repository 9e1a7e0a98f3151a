"""Smooth random manifolds whose coordinates are spike times: a task that lives in timing alone."""

from __future__ import annotations

import math

import numpy as np
import torch

from spikegrad.data import seeds
from spikegrad.data.dataset import Dataset, Split
from spikegrad.errors import UserError, message

__all__ = ["SOURCE", "embed", "make_randman"]

SOURCE = "Zenke & Vogels (2021)"

_PRECISION = 1e-3  # harmonics below this amplitude are left out
_MOST_HARMONICS = 1000
_REFERENCE = 1000  # points that say what range each unit's manifold spans
_MANIFOLD, _RANGE, _TRAIN, _TEST = 0, 1, 2, 3  # streams of random numbers


def embed(points: np.ndarray, theta: np.ndarray, alpha: float) -> np.ndarray:
    """Map points of the unit cube to a smooth random manifold.

    `f_i(p) = prod_j sum_{k=1}^{K} k^-alpha a_ijk sin(2 pi (k p_j b_ijk + c_ijk))`

    Args:
        points: `[n, D]` in [0, 1).
        theta: (a, b, c), `[3, units, D, K]` in [0, 1).
        alpha: smoothness; larger is smoother.

    Returns:
        float64 `[n, units]`.

    Source: Zenke & Vogels (2021), Methods, "Smooth random manifold datasets".

    >>> flat = np.ones((3, 1, 1, 1)); flat[2] = 0.25
    >>> embed(np.array([[0.0], [0.5]]), flat, 1.0).round(6).tolist()
    [[1.0], [-1.0]]
    """
    a, b, c = theta
    k = np.arange(1, a.shape[-1] + 1)
    out = np.ones((len(points), a.shape[0]))
    for j in range(points.shape[1]):
        phase = points[:, j, None, None] * (k * b[:, j]) + c[:, j]  # [n, units, K]
        out *= np.einsum("nik,ik->ni", np.sin(2.0 * np.pi * phase), a[:, j] / k**alpha)
    return out


def make_randman(
    *,
    classes: int = 10,
    units: int = 100,
    dim: int = 2,
    alpha: float = 2.0,
    steps: int = 100,
    samples: int = 400,
    test_samples: int = 100,
    seed: int = 0,
) -> Dataset:
    """Generate a spike-timing task: a manifold per class, one spike per unit and sample.

    The embedding of a point, scaled for each class and unit to [0, 1] over 1,000 reference points
    (and clipped there), is the spike time as a fraction of the `steps`. Every unit fires exactly
    once, so rates carry nothing.

    Args:
        classes: C >= 2.
        units: input neurons.
        dim: dimension of a manifold, D.
        alpha: smoothness, > 0; the task gets harder as it falls.
        steps: T.
        samples, test_samples: per class, in the training and the test part.
        seed: of manifolds and points; the parts share manifolds and differ in points.

    Returns:
        sequence data, uint8 `[N, T, units]`, 0 or 1, scale 1.

    Raises:
        UserError: a number out of range.

    Source: Zenke & Vogels (2021); their spikes are standardised over the samples themselves,
    which would let the size of a part move its spikes.

    >>> task = make_randman(classes=2, units=3, steps=20, samples=4, test_samples=2)
    >>> tuple(task.train.x.shape), task.train.x.sum(1).unique().tolist()
    ((8, 20, 3), [1])
    """
    _check(classes=classes, units=units, dim=dim, steps=steps)
    _check(samples=samples, test_samples=test_samples)
    if classes < 2:
        raise UserError(message("expected classes >= 2", str(classes)))
    if not 0.0 < alpha < math.inf:
        raise UserError(message("expected alpha > 0", str(alpha)))
    seeds.check_seed(seed)
    harmonics = min(math.ceil(_PRECISION ** (-1.0 / alpha)), _MOST_HARMONICS)
    train: list[np.ndarray] = []
    test: list[np.ndarray] = []
    for c in range(classes):
        theta = seeds.uniform((3, units, dim, harmonics), seed, _MANIFOLD, c)
        reference = _embed_drawn(theta, alpha, _REFERENCE, seed, _RANGE, c)
        low, high = reference.min(0), reference.max(0)
        for times, count, stream in ((train, samples, _TRAIN), (test, test_samples, _TEST)):
            value = _embed_drawn(theta, alpha, count, seed, stream, c)
            fraction = np.clip((value - low) / (high - low), 0.0, 1.0)
            times.append(np.minimum((fraction * steps).astype(np.int64), steps - 1))
    return Dataset(
        name="randman",
        train=_raster(train, steps),
        test=_raster(test, steps),
        classes=classes,
        class_names=tuple(f"manifold {c}" for c in range(classes)),
        sequence=True,
        source=SOURCE,
        licence="generated",
    )


def _check(**counts: int) -> None:
    for name, count in counts.items():
        if int(count) != count or count < 1:
            raise UserError(message(f"expected {name} as an integer >= 1", str(count)))


def _embed_drawn(theta: np.ndarray, alpha: float, count: int, *words: int) -> np.ndarray:
    """Embed `count` random points, some at a time: the sines of all would be large."""
    points = seeds.uniform((count, theta.shape[2]), *words)
    chunk = max(1, 4_000_000 // (theta.shape[1] * theta.shape[3]))
    parts = [embed(points[i : i + chunk], theta, alpha) for i in range(0, count, chunk)]
    return np.concatenate(parts)


def _raster(times: list[np.ndarray], steps: int) -> Split:
    """Spike steps per class, each int64 [n, units], to a raster uint8 [C*n, T, units]."""
    when = torch.from_numpy(np.concatenate(times))
    x = torch.zeros(len(when), steps, when.shape[1], dtype=torch.uint8)
    x.scatter_(1, when[:, None, :], 1)
    y = torch.arange(len(times)).repeat_interleave(len(times[0]))
    return Split(x, y, scale=1.0)
