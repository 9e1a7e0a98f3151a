"""Triton's kernels where there is no GPU: in Triton's interpreter, and compiled without being run.

Both need a process of their own: Triton decides when it is imported whether it interprets, and the
compiler is given a GPU that is not here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spikegrad.functional.lif import LIF
from spikegrad.kernels import triton
from spikegrad.kernels.triton import module

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(not triton.installed(), reason="Triton is not installed")


def run_tests(*names: str, **environment: str) -> None:
    """Run files of tests in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist",
         "--show-capture=no", *(str(HERE / "gpu" / name) for name in names)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@needs_triton
def test_neurons_in_the_interpreter() -> None:
    """In one process: most of the time goes into tracing neurons, and these files share them."""
    run_tests("scans.py", "trials.py", "networks.py", TRITON_INTERPRET="1")


@needs_triton
def test_networks_in_the_interpreter() -> None:
    run_tests("normalised.py", "bits.py", "traced.py", TRITON_INTERPRET="1")


@needs_triton
def test_kernels_compile_for_gpus_without_spills() -> None:
    run_tests("compiled.py", TRITON_INTERPRET="0")


def test_where_triton_is_missing_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installed", lambda: "")
    module.why_missing.cache_clear()
    assert triton.available() == "Triton is not installed (pip install 'spikegrad[gpu]')"
    monkeypatch.setattr(module, "installed", lambda: "3.2.0")
    module.why_missing.cache_clear()
    assert triton.available() == "Triton 3.2.0 is older than 3.4; upgrade it"
    monkeypatch.undo()
    module.why_missing.cache_clear()


@needs_triton
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_reason_says_so() -> None:
    assert "no CUDA GPU" in triton.available()
    assert "no CUDA GPU" in triton.obstacle(LIF, torch.rand(2, 3, 4), checked=True)
