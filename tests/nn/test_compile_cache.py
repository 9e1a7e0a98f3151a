"""torch keeps compiled gradients on disk; another process must not take those of another surrogate.

Once a gradient was found there by the number of a surrogate's record: with gain 2 it was that of
gain 1, and right in nothing but its shape.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spikegrad.kernels import cpu
from spikegrad.kernels.triton import installed

native = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")

PROGRAM = """
import sys
import torch
import spikegrad as sg
from spikegrad import surrogate as S
from torch._dynamo.utils import counters

torch._inductor.config.fallback_by_default = True  # no C++ to compile
second, triton = sys.argv[1] == "second", "triton" in sys.argv

def wide(z):
    return torch.clamp(1 - z * z, min=0) * 0.75

def narrow(z):
    return torch.clamp(1 - z.abs(), min=0)

own = S.register("mine", narrow if second else wide, support=1.0, kinks=(-1, 0, 1))

records = {
    "same": S.arctan(2.0),
    "gain": S.arctan(2.0, gain=2.0 if second else 1.5),
    "normalisation": S.get("sigmoid", 3.0, normalisation="peak" if second else "area"),
    "shape": S.q_pseudospike(1.0, q=3.0 if second else 2.0),
    "own": own,
}
networks = {
    "layer": lambda r: sg.Sequential(sg.Linear(6, 5), sg.LIF(5.0, surrogate=r)),
    "scan": lambda r: sg.LIF(5.0, surrogate=r),
    "pool": lambda r: sg.Sequential(sg.LIF(5.0, surrogate=r), sg.MaxPool2d(2)),
    "convolution": lambda r: sg.Sequential(
        sg.Conv2d(6, 2, 3), sg.LIF(5.0, surrogate=r), sg.MaxPool2d(2)
    ),
}

if triton:  # in its interpreter: a scan, a product of its spikes as bits, a scan with feedback
    networks["triton"] = lambda r: sg.Sequential(
        sg.Linear(6, 5), sg.LIF(5.0, surrogate=r), sg.Linear(5, 4),
        sg.nn.Recurrent(sg.LIF(5.0, surrogate=r), 4), backend="triton",
    )

def gradients(run, network, x):
    y, _ = run(x)
    incoming = torch.linspace(0, 1, y.numel()).reshape(y.shape)
    return torch.autograd.grad((y * incoming).sum(), [x, *network.parameters()])

for what, record in records.items():
    for name, make in networks.items():
        if name != "layer" and what in ("normalisation", "shape"):  # one way is enough for those
            continue
        if name not in ("layer", "scan") and what == "own":
            continue
        torch.manual_seed(0)
        torch._dynamo.reset()
        network = make(record)
        image = [6, 6] if name in ("pool", "convolution") else []
        x = torch.rand(4, 3, 6, *image).requires_grad_()
        before = counters["aot_autograd"]["autograd_cache_hit"]
        pairs = zip(gradients(torch.compile(network), network, x), gradients(network, network, x))
        right = all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in pairs)
        hit = counters["aot_autograd"]["autograd_cache_hit"] > before
        print(what, name, "right" if right else "wrong", "kept" if hit else "new", flush=True)
"""


def run(which: str, folder: Path) -> dict[tuple[str, str], tuple[str, str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, which, *(["triton"] if installed() else [])],
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder), "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = (line.split() for line in done.stdout.splitlines())
    return {(what, name): (right, kept) for what, name, right, kept in lines}


@native
def test_a_compiled_gradient_is_found_by_its_surrogate(tmp_path: Path) -> None:
    first, second = run("first", tmp_path), run("second", tmp_path)
    assert len(first) == len(second) == 12 + 2 * bool(installed())
    for found in (first, second):
        assert [case for case, (right, _) in found.items() if right != "right"] == []
    # The cache was in use, or this would say nothing.
    for name in ("layer", "scan", "pool", *(["triton"] if installed() else [])):
        assert second["same", name] == ("right", "kept"), name
