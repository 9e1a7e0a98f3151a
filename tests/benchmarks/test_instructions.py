"""One instruction set for all that is compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from benchmarks import halving, peers
from benchmarks.instructions import SETS, VARIABLES, again, environment
from benchmarks.workers import ROOT
from spikegrad.kernels.cpu.instructions import NEEDS, missing

needs_avx2 = pytest.mark.skipif(bool(missing("avx2")), reason="this CPU has no AVX2")


def test_every_set_but_native_sets_every_variable():
    assert SETS["native"] == {}
    for name, values in SETS.items():
        if name != "native":
            assert values.keys() == VARIABLES
            assert values["SPIKEGRAD_ISA"] == name
            assert name in NEEDS


def test_what_was_set_before_does_not_stay():
    before = dict.fromkeys(VARIABLES, "1") | {"HOME": "/h", "XLA_FLAGS": "--a=1"}
    assert environment("native", before) == {"HOME": "/h", "XLA_FLAGS": "--a=1"}
    held = environment("avx2", environment("avx512", before))
    flags = {"XLA_FLAGS": "--a=1 --xla_cpu_max_isa=AVX2"}
    assert held == {**SETS["avx2"], "HOME": "/h", **flags}


@needs_avx2
@pytest.mark.parametrize(("isa", "capability"), [("avx2", "avx2"), ("generic", "default")])
def test_torch_is_held_to_the_set(isa, capability, tmp_path):
    out = tmp_path / "rows.json"
    words = "--workload W2 --only relu --tiny --repeats 1 --threads 1"
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        assert peers.main([*words.split(), "--isa", isa, "--json", str(out)]) == 0
    torch.set_num_threads(threads)
    result = json.loads(out.read_text())
    assert (result["isa"], result["torch"]) == (isa, torch.__version__)
    assert result["machine"]["processor"]
    assert [row["isa"] for row in result["rows"]] == [capability]


@needs_avx2
def test_the_variable_of_ours_is_the_default_for_all():
    code = "from benchmarks.peers import parsed; print(parsed([]).isa)"
    for value, isa in (("avx2", "avx2"), ("", "native")):
        variables = {**os.environ, "SPIKEGRAD_ISA": value, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == isa


def test_a_program_that_has_torch_already_starts_anew_with_the_set(monkeypatch):
    """choice and halving measure in their own process; torch reads its variable at its import."""
    monkeypatch.delenv("SPIKEGRAD_ISA", raising=False)
    asked = []
    monkeypatch.setattr(subprocess, "call", lambda command, env: asked.append((command, env)) or 3)
    assert halving.main(["--repeats", "1", "--isa", "generic"]) == 3
    ((command, variables),) = asked
    assert command[1:] == ["-m", "benchmarks.halving", "--repeats", "1", "--isa", "generic"]
    assert SETS["generic"].items() <= variables.items()
    monkeypatch.setattr(os, "environ", variables)
    assert again("benchmarks.halving", [], "generic") is None  # no third process
