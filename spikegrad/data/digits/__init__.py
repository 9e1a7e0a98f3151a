"""The 1,797 handwritten digits of 8x8 pixels that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from spikegrad.data.dataset import Dataset, Split, stratified

__all__ = ["LICENCE", "SOURCE", "load_digits"]

SOURCE = "Alpaydin & Kaynak (1998), Optical Recognition of Handwritten Digits, UCI"
LICENCE = "CC BY 4.0"

_FILE = Path(__file__).with_name("digits.npz")
_TEST_SAMPLES = 360
_SPLIT_SEED = 1998  # fixed for ever: results are compared on this split


def load_digits() -> Dataset:
    """Load the digits, divided once and for all: 1,437 to train, 360 to test.

    The part shipped is the test part of the UCI set (13 writers). It has no split of its own, so
    360 samples, every class in its share, are set apart by `stratified(y, 360, 1998)`. Writers are
    not recorded: one may be in both parts.

    Returns:
        static data, uint8 `[N, 8, 8]` with values 0..16, scale 16.

    Source: E. Alpaydin & C. Kaynak (1998), doi 10.24432/C50P49, CC BY 4.0.

    >>> digits = load_digits()
    >>> len(digits.train), len(digits.test), digits.features, digits.train.scaled().max().item()
    (1437, 360, (8, 8), 1.0)
    """
    with np.load(_FILE, allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"].astype(np.int64)
    whole = Split(torch.from_numpy(x), torch.from_numpy(y), scale=16.0)
    test = stratified(y, _TEST_SAMPLES, _SPLIT_SEED)
    train = np.setdiff1d(np.arange(len(y)), test)
    return Dataset(
        name="digits",
        train=whole.select(torch.from_numpy(train)),
        test=whole.select(torch.from_numpy(test)),
        classes=10,
        class_names=tuple(str(digit) for digit in range(10)),
        sequence=False,
        source=SOURCE,
        licence=LICENCE,
    )
