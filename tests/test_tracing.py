"""The marks for `torch.compile` are torch's own, and no command imports the compiler for them."""

from __future__ import annotations

import subprocess
import sys

import torch

from spikegrad.tracing import constant, untraced


def test_constant_marks_as_torch_does() -> None:
    ours = constant(lambda: 0)
    theirs = torch.compiler.assume_constant_result(lambda: 0)
    assert vars(ours) == vars(theirs) != {}


def test_untraced_functions_run_in_python() -> None:
    seen: list[bool] = []

    @untraced
    def outside(x: torch.Tensor) -> torch.Tensor:
        seen.append(torch.compiler.is_compiling())
        return x + 1

    compiled = torch.compile(lambda x: outside(2 * x), backend="eager")
    assert compiled(torch.ones(1)).item() == outside(torch.full((1,), 2.0)).item() == 3.0
    assert seen == [False, False]


def last_line(code: str) -> str:
    """What a new process says at its end."""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return out.stdout.splitlines()[-1]


def test_the_package_does_not_import_the_compiler() -> None:
    code = "import sys, spikegrad.cli.main; print('torch._dynamo' in sys.modules)"
    assert last_line(code) == "False"


def test_diagnose_imports_neither_the_compiler_nor_sympy() -> None:
    """Both took half of its time: by deterministic algorithms, and by weights of a gradient."""
    code = """
import gc, sys
from spikegrad.cli.main import main
assert main(["diagnose", "digits", "--samples", "8", "--truth"]) == 0
assert gc.isenabled()
print({"sympy", "torch._dynamo", "torch._inductor"} & set(sys.modules))
"""
    assert last_line(code) == "set()"


def test_a_compiler_that_is_imported_during_a_run_is_deterministic() -> None:
    code = """
import os, sys, torch
from spikegrad.train.config import RunConfig
from spikegrad.train.settings import settings
found = []
def see():
    config = sys.modules.get("torch._inductor.config")
    strict = torch.are_deterministic_algorithms_enabled()
    found.append((strict, config and config.deterministic))
with settings(RunConfig()):
    see()
    import torch._inductor.config
    see()
see()
with settings(RunConfig()):
    see()
see()
print(*found, os.environ.get("TORCHINDUCTOR_DETERMINISTIC"))
"""
    on, off = "(True, True)", "(False, False)"
    assert last_line(code) == f"(True, None) {on} {off} {on} {off} None"
