"""Rows in JAX that have an interpreter of their own, and no torch in it.

brainevent 0.3.0 wants Python 3.12. Where it is not installed beside torch, `BRAINEVENT_PYTHON`
names the interpreter that has it, and without one the comparison is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import spikegrad as sg
from benchmarks import harness, material, peers, worker, workers
from benchmarks.workloads import WORKLOADS, tiny

PYTHON = sys.executable if find_spec("brainevent") else os.environ.get("BRAINEVENT_PYTHON")
GRADIENTS = """
import json, sys, jax, numpy as np
from benchmarks import worker
given = json.loads(sys.argv[1])
trainer = worker.build(given)
found = jax.grad(trainer.loss)(trainer.weights, trainer.x, trainer.labels)
differ = worker.differing(trainer.spikes(), "subtract", given["material"])
assert differ == 0, differ
trainer.step()
np.savez(sys.argv[2], **found)
"""


def gradients_of_ours(order: dict) -> dict[str, np.ndarray]:
    """By the names and in the order of axes of brainevent's weights."""
    trainer, found, count = worker.build({**order, "implementation": "ours"}), {}, 0
    trainer.step()
    for layer in trainer.net.layers:
        if isinstance(layer, sg.Linear):
            found[f"w{count}"] = layer.weight.grad.numpy().T
            found[f"b{count}"] = layer.bias.grad.numpy()
            count += 1
        if isinstance(layer, sg.Recurrent):
            found["recurrent"] = layer.connection.weight.grad.numpy().T
    return found


@pytest.mark.skipif(PYTHON is None, reason="brainevent is not installed")
@pytest.mark.parametrize("name", ["W1", "W2", "W3s"])
@pytest.mark.parametrize("implementation", ["brainevent", "brainevent-dense"])
def test_spikes_and_gradients_are_ours(implementation: str, name: str, tmp_path: Path) -> None:
    workload = tiny(WORKLOADS[name])
    with torch.random.fork_rng():
        path, _ = material.make(workload, tmp_path)
    order = {
        "workload": asdict(workload),
        "implementation": implementation,
        "surrogate": "triangle",
        "material": str(path),
    }
    assert PYTHON is not None
    out = tmp_path / "gradients.npz"
    command = [PYTHON, "-c", GRADIENTS, json.dumps(order), str(out)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(workers.ROOT)})
    expected = gradients_of_ours(order)
    with np.load(out) as found:
        assert set(found.files) == set(expected)
        for key in found.files:  # sums in another order
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-7)


def test_a_worker_in_jax_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import benchmarks.worker, benchmarks.arrays, benchmarks.networks.job"
    )
    variables = {**os.environ, "PYTHONPATH": str(workers.ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_another_interpreter_runs_the_rows_of_its_package(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho the other interpreter, $* >&2\nexit 3\n")
    python.chmod(0o755)
    chosen = harness.tasks(tiny(WORKLOADS["W2"]), ["brainevent", "relu"], ["triangle"])
    settings = workers.Settings(1, 1, pythons={"brainevent": str(python)})
    with torch.random.fork_rng():
        path, _ = material.make(chosen[0].workload, tmp_path)
    event, relu = harness.workload_rows(chosen, path, settings)
    assert event["void"] == "the other interpreter, -m benchmarks.worker"
    assert relu["void"] is None


def test_only_a_peer_in_jax_may_be_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    given = peers.parsed(["--python", "brainevent=other/bin/python"]).python
    assert given == [("brainevent", str(Path("other/bin/python").absolute()))]
    with pytest.raises(SystemExit):
        peers.parsed(["--python", "norse=other/bin/python"])
    assert "expected a peer in JAX and a path, got norse=" in capsys.readouterr().err
