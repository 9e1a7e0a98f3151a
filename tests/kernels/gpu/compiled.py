"""Generated Triton kernels compiled for GPUs that are not here: registers, and no spills.

`test_triton.py` runs this file in a process of its own. The kernels take the way of a launch, up to
the launch itself.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from spikegrad import neurons
from spikegrad.functional.adaptive import ALIF
from spikegrad.functional.lif import LIF
from spikegrad.kernels.emit import Program
from spikegrad.kernels.triton import feedback_launch, launch, recurrent, step
from spikegrad.kernels.triton.step import prepared
from spikegrad.step import Step
from spikegrad.surrogate import triangle

MOST_REGISTERS = 96
"""Of 65536 in a multiprocessor: five blocks of 128 threads run on it together."""
STEPS: dict[str, Step] = {
    "LIF": LIF,
    "ALIF": ALIF,
    **{n: m.step for n, m in neurons.models().items() if not m.step.inputs},
}


class Absent:
    """A driver for a GPU that is not here; the device's number is its generation."""

    def __init__(self, generation: int) -> None:
        self.generation = generation

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.generation, 32)

    def get_current_device(self) -> int:
        return self.generation

    def get_current_stream(self, device: int) -> int:
        return 0


def used(log: str) -> dict[str, int]:
    """Registers, and bytes of them that are spilled, as the assembler reports them."""
    found = {}
    for what in ("registers", "bytes spill stores", "bytes spill loads"):
        (number,) = re.findall(rf"(\d+) {what}", log)
        found[what] = int(number)
    return found


def instructions(cubin: bytes, folder: Path) -> str:
    """The instructions of a binary."""
    path = folder / "made.cubin"
    path.write_bytes(cubin)
    command = [knobs.nvidia.cuobjdump.path, "-sass", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """The kernels of calls, which are compiled instead of run, and the assembler's reports."""
    found: dict[str, Any] = {}

    def compiled(program: Program, kernel: str, instances: int, **args: Any) -> None:
        capfd.readouterr()
        function = getattr(launch.generated(program.text), kernel)
        made = function.warmup(**args, grid=(1,), enable_fp_fusion=False)
        found[kernel] = {**made.asm, "log": capfd.readouterr().out}

    launch.generated.cache_clear()  # what was compiled already has no report
    for module in (launch, feedback_launch):
        monkeypatch.setattr(module, "start", compiled)
    monkeypatch.setenv("SPIKEGRAD_CACHE", str(tmp_path))
    monkeypatch.setattr(knobs.nvidia, "dump_ptxas_log", True)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    return found


@pytest.fixture(params=[80, 90], ids=["sm_80", "sm_90"])
def generation(request: pytest.FixtureRequest) -> int:
    """The GPU that is compiled for."""
    driver.set_active(Absent(request.param))
    return request.param


def call(definition: Step, dtype: torch.dtype = torch.float32, **args: Any) -> None:
    """A call and its backward pass."""
    y, _ = step(definition, torch.rand(20, 3, 64, dtype=dtype).requires_grad_(), **args)
    y.sum().backward()


def check(kernels: Any, most: int = MOST_REGISTERS) -> None:
    """Both were compiled, within the limits."""
    assert set(kernels) == {"forward", "backward"}
    for name, kernel in kernels.items():
        found = used(kernel["log"])
        assert 16 <= found["registers"] <= most, name
        assert found["bytes spill stores"] == found["bytes spill loads"] == 0, name


@pytest.mark.parametrize("name", STEPS)
def test_every_neuron_compiles_without_spills(
    name: str, kernels: Any, generation: int, tmp_path: Path
) -> None:
    call(STEPS[name])
    check(kernels)


@pytest.mark.parametrize("lean", [False, True])
def test_learned_parameters_of_each_neuron(
    lean: bool, kernels: Any, generation: int, tmp_path: Path
) -> None:
    values = {k: torch.full((64,), v).requires_grad_() for k, v in ALIF.defaults().items()}
    call(ALIF, lean=lean, refractory=2, **values)
    check(kernels)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes(dtype: torch.dtype, kernels: Any, generation: int) -> None:
    call(LIF, dtype)
    check(kernels)


def test_a_bias_in_the_scan(kernels: Any, generation: int) -> None:
    call(ALIF, bias=torch.zeros(64, requires_grad=True))
    check(kernels)


@pytest.mark.parametrize("definition", [LIF, ALIF], ids=["lif", "alif"])
@pytest.mark.parametrize("spatial", [(), (8, 8)], ids=["neurons", "images"])
def test_a_batch_norm_in_the_scan(
    definition: Step, spatial: tuple[int, ...], kernels: Any, generation: int
) -> None:
    given = {
        name: torch.ones(64, requires_grad=True) for name in ("bias", "norm_scale", "norm_shift")
    }
    y, _ = step(definition, torch.rand(20, 3, 64, *spatial).requires_grad_(), **given)
    y.sum().backward()
    check(kernels)


@pytest.mark.parametrize(
    ("features", "dtype"),
    [(64, torch.float32), (64, torch.float64), (256, torch.float32), (256, torch.bfloat16)],
)
def test_feedback(features: int, dtype: torch.dtype, kernels: Any, generation: int) -> None:
    """512 threads have 128 registers each; the weight of 64 neurons is among them."""
    x = torch.rand(20, 32, features, dtype=dtype)
    weight = torch.rand(features, features, dtype=dtype, requires_grad=True)
    y, _ = recurrent(LIF, x, weight=weight, bias=torch.zeros(features, requires_grad=True))
    y.sum().backward()
    check(kernels, 128)
    assert "mma" in kernels["forward"]["ptx"]


@pytest.mark.parametrize("shape", [(20, 1, 1), (1, 1, 1), (3, 2, 5)])
def test_odd_shapes_and_a_dense_gradient(
    shape: Any, kernels: Any, generation: int, tmp_path: Path
) -> None:
    y, _ = step(LIF, torch.rand(shape).requires_grad_())
    (y * torch.rand(shape)).sum().backward()
    check(kernels)
    kernels.clear()
    step(LIF, torch.rand(shape))
    assert set(kernels) == {"forward"}


def test_products_and_sums_stay_apart(kernels: Any, generation: int, tmp_path: Path) -> None:
    """So that a step of + - * / gives the reference's results to the last bit."""
    call(LIF, surrogate=triangle(1.5), v_rest=0.1)
    for kernel in kernels.values():
        assert "FMUL" in instructions(kernel["cubin"], tmp_path)
        assert "FFMA" not in instructions(kernel["cubin"], tmp_path)


def test_one_kernel_serves_every_number_of_steps(
    kernels: Any, generation: int, tmp_path: Path
) -> None:
    keys = set()
    for steps in (1, 2, 16):
        y, _ = step(LIF, torch.rand(steps, 3, 64).requires_grad_())
        y.sum().backward()
        module = launch.generated(prepared(LIF, torch.rand(steps, 3, 64)).call.program.text)
        for kernel in (module.forward, module.backward):
            keys.add((kernel, *kernel.device_caches[generation][0]))
    assert len(keys) == 2
