"""The yin-yang task: three classes in the plane that no linear model can part."""

from __future__ import annotations

import numpy as np
import torch

from spikegrad.data import seeds
from spikegrad.data.dataset import Dataset, Split
from spikegrad.errors import UserError, message

__all__ = ["CLASS_NAMES", "SOURCE", "classify", "make_yin_yang"]

SOURCE = "Kriener, Göltz & Petrovici (2022)"
CLASS_NAMES = ("yin", "yang", "dot")

_BLOCK = 4096  # points drawn at a time; fixed, so that a larger set begins with the smaller one


def classify(x: np.ndarray, y: np.ndarray, *, small: float = 0.1, big: float = 0.5) -> np.ndarray:
    """The class of each point of the square [0, 2 big]^2, -1 outside of the circle.

    With the centre (R, R), R = `big`, and d- and d+ the distances to (R/2, R) and (3R/2, R): a dot
    (label 2) is where d- or d+ <= r = `small`; of the rest, label 1 is where d- <= R/2, or y > R
    and d+ > R/2, and label 0 elsewhere. Labels and names are those of the published data set,
    which calls label 0 yin.

    Args:
        x, y: coordinates, any shape, the same for both.
        small, big: radius of the dots and of the whole.

    Returns:
        int64 of the same shape.

    Source: Kriener, Göltz & Petrovici (2022), fig. 1.

    >>> classify(np.array([0.25, 0.4, 0.6, 0.0]), np.array([0.5, 0.8, 0.2, 0.0])).tolist()
    [2, 1, 0, -1]
    """
    left = np.hypot(x - 0.5 * big, y - big)
    right = np.hypot(x - 1.5 * big, y - big)
    dot = (left <= small) | (right <= small)
    one = (left <= 0.5 * big) | ((y > big) & (right > 0.5 * big))
    inside = np.hypot(x - big, y - big) <= big
    return np.where(inside, np.where(dot, 2, np.where(one, 1, 0)), -1).astype(np.int64)


def make_yin_yang(
    *, samples: int = 5000, test_samples: int = 1000, seed: int = 0, small: float = 0.1
) -> Dataset:
    """Generate the yin-yang task, classes in turn: sample n has class n mod 3.

    Args:
        samples, test_samples: size of the two parts, at least 3 each; the same task, other points.
        seed: of the points; a larger part begins with the points of a smaller one.
        small: radius of the dots, 0 < small < 1/4 (the whole has radius 1/2).

    Returns:
        static data, float32 `[N, 4]`: x, y, 1-x, 1-y, all in [0, 1].

    Raises:
        UserError: a size or a radius out of range.

    Source: Kriener, Göltz & Petrovici (2022), sizes and radii as there (5,000 and 1,000).

    >>> task = make_yin_yang(samples=6)
    >>> task.train.y.tolist(), task.features
    ([0, 1, 2, 0, 1, 2], (4,))
    """
    if min(samples, test_samples) < len(CLASS_NAMES):
        got = f"{samples} and {test_samples}"
        raise UserError(message("expected at least 3 samples in each part", got))
    if not 0.0 < small < 0.25:
        raise UserError(message("expected a radius 0 < small < 0.25", str(small)))
    seeds.check_seed(seed)
    return Dataset(
        name="yin-yang",
        train=_draw(samples, small, seed, 0),
        test=_draw(test_samples, small, seed, 1),
        classes=len(CLASS_NAMES),
        class_names=CLASS_NAMES,
        sequence=False,
        source=SOURCE,
        licence="generated",
    )


def _draw(samples: int, small: float, seed: int, part: int) -> Split:
    """Rejection sampling: of each block of uniform points, keep what each class still lacks."""
    goal = np.arange(samples) % len(CLASS_NAMES)
    points = np.empty((samples, 2))
    room = [np.flatnonzero(goal == c) for c in range(len(CLASS_NAMES))]
    block = 0
    while any(len(r) for r in room):
        drawn = seeds.uniform((_BLOCK, 2), seed, part, block)
        kind = classify(drawn[:, 0], drawn[:, 1], small=small)
        for c, free in enumerate(room):
            found = drawn[kind == c][: len(free)]
            points[free[: len(found)]] = found
            room[c] = free[len(found) :]
        block += 1
    x = np.concatenate([points, 1.0 - points], axis=1).astype(np.float32)
    return Split(torch.from_numpy(x), torch.from_numpy(goal))
