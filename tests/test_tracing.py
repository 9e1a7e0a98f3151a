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


def test_the_package_does_not_import_the_compiler() -> None:
    code = "import sys, spikegrad.cli.main; print('torch._dynamo' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
