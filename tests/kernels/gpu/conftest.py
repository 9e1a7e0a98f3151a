"""What the tests of Triton's kernels start from; they run in processes of their own."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from spikegrad.kernels import choice as choosing
from spikegrad.kernels import get
from spikegrad.kernels.triton import module, trial, verdict

SEGMENT, STEPS = 9, 11
"""Of a part that is computed again, and of a comparison: fewer than in use, with more than one part
and more than one byte of masks all the same."""
step_module = sys.modules["spikegrad.kernels.triton.step"]  # `triton.step` is the function


@pytest.fixture(scope="session", autouse=True)
def _quick_interpreter() -> None:
    """Without its check of every sum of whole numbers for an overflow: two thirds of the time.

    Indices are 32 bits wide where columns are fewer than 2^31, and 64 bits over time.
    """
    if os.environ.get("TRITON_INTERPRET") == "1":
        from triton.runtime import interpreter

        builder = interpreter.interpreter_builder
        builder.options = replace(builder.options, sanitize_overflow=False)


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for generated modules."""
    return tmp_path_factory.mktemp("modules")


@pytest.fixture(autouse=True)
def cache(modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of the whole run, verdicts of the test's own, and short parts."""
    monkeypatch.setattr(module, "folder", lambda: modules)
    monkeypatch.setattr(verdict, "folder", lambda: tmp_path)
    monkeypatch.setattr(verdict, "KNOWN", {})
    monkeypatch.setattr(verdict, "FAILED", {})
    monkeypatch.setattr(step_module, "SEGMENT", SEGMENT)
    monkeypatch.setattr(trial, "STEPS", STEPS)


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """backend="auto" takes the tensors here for a GPU's."""
    monkeypatch.setattr(choosing, "on_device", lambda _: (get("triton"),))
