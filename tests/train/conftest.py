"""What the tests of training share: a tiny data set, and processes that can be killed."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from spikegrad.data import load_digits

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["spikegrad.train.app", "lightning_fabric"])

TIMES = ("seconds", "train_seconds", "seconds_per_epoch")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 digits to train on and 60 to test on, as an .npz of one's own."""
    digits = load_digits()
    assert digits.test is not None
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(
        path,
        x_train=digits.train.x[:200].numpy(),
        y_train=digits.train.y[:200].numpy(),
        x_test=digits.test.x[:60].numpy(),
        y_test=digits.test.y[:60].numpy(),
        scale=16.0,
    )
    return path


@pytest.fixture(scope="session")
def options(tiny: Path) -> dict[str, object]:
    """A run of well below a second, with everything random in it."""
    return {
        "data": str(tiny),
        "hidden": [16],
        "steps": 4,
        "epochs": 3,
        "batch_size": 20,
        "dropout": 0.2,
        "batch_norm": True,
        "shift": 1,
        "encoder": "poisson",
        "validation": 0.2,
        "schedule": "cosine",
        "ema": 0.9,
        "threads": 1,
        "tensorboard": False,
        "preflight": "off",
        "checkpoint_seconds": 0.02,
    }


@pytest.fixture(scope="session")
def child():
    """Run code in a fresh process that has torch imported already; returns the process."""

    def start(code: str) -> multiprocessing.process.BaseProcess:
        process = _CONTEXT.Process(target=exec, args=(code, {"__name__": "child"}))
        process.start()
        return process

    return start


@pytest.fixture(scope="session")
def outcome():
    """What a run came to, times left out: bytes of the weights, metrics, result."""

    def read(run: Path) -> tuple[bytes, list[dict], dict]:
        lines = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
        result = json.loads((run / "result.json").read_text())
        for record in [*lines, result]:
            for key in TIMES:
                record.pop(key, None)
        return (run / "weights.safetensors").read_bytes(), lines, result

    return read
