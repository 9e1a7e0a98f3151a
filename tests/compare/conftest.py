"""A data set so small that a trial takes a blink."""

from __future__ import annotations

import numpy as np
import pytest
from small_runs import SMALL

from spikegrad.data import load_digits


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    digits = load_digits()
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    train, test = digits.train, digits.test
    names = {"x_train": train.x[:160], "y_train": train.y[:160]}
    names |= {"x_test": test.x[:60], "y_test": test.y[:60]}
    np.savez(path, scale=16.0, **{name: value.numpy() for name, value in names.items()})
    return path


@pytest.fixture
def small(tiny):
    """Options of `compare.run` and `compare.plan`."""
    return {**SMALL, "data": str(tiny)}
