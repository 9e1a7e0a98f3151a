"""`make wheel-test`: in a new environment without a compiler the wheel's own kernels run.

Run by the Python of that environment; needs no pytest. Every check is an `assert` of what the
command line printed or a result that the reference confirms.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PROGRAM = """
import torch, spikegrad as sg
from spikegrad.kernels import cpu
assert cpu.load() == "", cpu.load()
library = cpu.loaded()
assert library.origin == "ready-made" and library.isa == cpu.isa(), library
assert str(library.path).startswith(sg.__path__[0]), library
found = {}
x = (torch.rand(20, 8, 100, generator=torch.Generator().manual_seed(1)) < 0.1).float()
for backend in ("reference", "cpu"):
    torch.manual_seed(0)
    network = sg.Sequential(sg.Linear(100, 64), sg.LIF(20.0), sg.Linear(64, 10), sg.LI(20.0))
    sg.nn.use_backend(network, backend)
    y, _ = network(x)
    y.square().mean().backward()
    found[backend] = [y.detach(), *(p.grad for p in network.parameters())]
for ours, theirs in zip(found["cpu"], found["reference"], strict=True):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
for kind in (sg.IF, sg.LIF, sg.CUBALIF, sg.ALIF):
    scans = []
    for backend in ("reference", "cpu"):
        args = {} if kind is sg.IF else {"tau_mem": 20.0, "learn": "tau_mem"}
        args |= {"tau_syn": 5.0} if kind is sg.CUBALIF else {}
        args |= {"tau_adapt": 50.0} if kind is sg.ALIF else {}
        layer, given = kind(backend=backend, **args), x.clone().requires_grad_()
        s, _ = layer(given)
        s.sum().backward()
        scans.append([s.detach(), given.grad, *(p.grad for p in layer.parameters())])
    for ours, theirs in zip(*scans, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
try:  # an exception has to cross from the library into torch and Python
    torch.ops.spikegrad.pack(torch.rand(3))
except RuntimeError as error:
    print(type(error).__name__, torch.__version__, cpu.isa())
"""


def main() -> None:
    """Doctor, results and a training for each instruction set that this CPU has."""
    commands = Path(sys.executable).parent
    for isa in ["", "avx2"]:
        with tempfile.TemporaryDirectory() as home:
            environment = {
                "PATH": str(commands),
                "HOME": home,
                "SPIKEGRAD_ISA": isa,
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
            }
            for compiler in ("g++", "c++", "clang++"):
                assert shutil.which(compiler, path=str(commands)) is None

            def run(*words: str, here: str = home, env: dict[str, str] = environment) -> str:
                done = subprocess.run(words, cwd=here, env=env, capture_output=True, text=True)
                assert done.returncode == 0, done.stdout + done.stderr
                assert "kernels are missing" not in done.stderr, done.stderr
                return done.stdout

            found: dict[str, Any] = json.loads(run(f"{commands}/spikegrad", "doctor", "--json"))
            kernels = found["kernels"]
            assert kernels["backend cpu"] == "can run", kernels
            assert kernels["library"].startswith("ready-made: "), kernels
            assert isa in kernels["instruction set"], kernels
            said = run(sys.executable, "-c", PROGRAM)
            assert said.startswith("RuntimeError "), said
            said = run(f"{commands}/spikegrad", "build")
            assert "nothing was compiled: no C++ compiler" in said, said
            assert f"measured with {environment['OMP_NUM_THREADS']} threads" in said, said
            run(f"{commands}/spikegrad", "train", "digits", "--epochs", "2", "--out", f"{home}/run")
            result = json.loads(Path(home, "run", "result.json").read_text())
            assert result["test_accuracy"] > 0.8, result
            built = list(Path(home, ".cache", "spikegrad").glob("*.so"))
            assert not built, built
            sys.stdout.write(f"{kernels['instruction set']}, torch {found['versions']['torch']}: ")
            sys.stdout.write(f"trained to {result['test_accuracy']:.3f}, no compiler\n")


if __name__ == "__main__":
    main()
