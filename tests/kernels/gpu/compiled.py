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
from spikegrad.kernels.triton import feedback_launch, launch, product_launch, recurrent, step
from spikegrad.kernels.triton.product import product
from spikegrad.kernels.triton.programs import program_of
from spikegrad.kernels.triton.spikes import Spikes
from spikegrad.kernels.triton.step import prepared
from spikegrad.step import Step
from spikegrad.surrogate import boxcar, triangle

MOST_REGISTERS = 96
"""Of 65536 in a multiprocessor: five blocks of 128 threads run on it together."""
MOST_OF_PRODUCTS = 208
"""Of a block of 64 by 64 results at 128 threads; two blocks run together."""
STEPS: dict[str, Step] = {
    "LIF": LIF,
    "ALIF": ALIF,
    **{name: model.step for name, model in neurons.models().items()},
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

    def compiled(text: str, kernel: str, instances: int, **args: Any) -> None:
        capfd.readouterr()
        function = getattr(launch.generated(text), kernel)
        made = function.warmup(**args, grid=(1,), enable_fp_fusion=False)
        found[kernel] = {**made.asm, "log": capfd.readouterr().out}

    launch.generated.cache_clear()  # what was compiled already has no report
    for module in (launch, feedback_launch, product_launch):
        monkeypatch.setattr(module, "start", compiled)
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
    inputs = (len(definition.inputs),) if definition.inputs else ()
    y, _ = step(definition, torch.rand(20, 3, *inputs, 64, dtype=dtype).requires_grad_(), **args)
    sum((part.edge if isinstance(part, Spikes) else part).sum() for part in whole(y)).backward()


def whole(y: Any) -> tuple[Any, ...]:
    """One output or two."""
    return (y,) if isinstance(y, (Spikes, torch.Tensor)) else y


def check(
    kernels: Any,
    names: tuple[str, ...] = ("forward", "backward"),
    *,
    most: int = MOST_REGISTERS,
    spilled: int = 0,
) -> None:
    """All were compiled, within the limits; spilled: bytes of a thread."""
    for name in names:
        found = used(kernels[name]["log"])
        assert 16 <= found["registers"] <= most, name
        assert max(found["bytes spill stores"], found["bytes spill loads"]) <= spilled, name


@pytest.mark.parametrize("name", STEPS)
def test_every_neuron_compiles_without_spills(name: str, kernels: Any, generation: int) -> None:
    call(STEPS[name])
    check(kernels)


def test_learned_parameters_of_each_neuron(kernels: Any, generation: int) -> None:
    values = {k: torch.full((64,), v).requires_grad_() for k, v in ALIF.defaults().items()}
    call(ALIF, lean=True, refractory=2, **values)
    check(kernels)


def test_half_types_that_leave_as_bits(kernels: Any, generation: int) -> None:
    """No thread waits for another one: a byte has the steps of one neuron."""
    call(LIF, torch.bfloat16 if generation == 80 else torch.float16, pack=True, surrogate=boxcar())
    check(kernels)
    assert "bar.sync" not in kernels["forward"]["ptx"]
    assert "shared" not in kernels["forward"]["ptx"]


def test_noise_and_two_outputs_in_float64(kernels: Any, generation: int) -> None:
    call(LIF.variant(spike="escape", output="both"), torch.float64)
    check(kernels)


@pytest.mark.parametrize(
    ("definition", "spatial"), [(ALIF, ()), (LIF, (8, 8))], ids=["neurons", "images"]
)
def test_a_bias_and_a_batch_norm_in_the_scan(
    definition: Step, spatial: tuple[int, ...], kernels: Any, generation: int
) -> None:
    given = {
        name: torch.ones(64, requires_grad=True) for name in ("bias", "norm_scale", "norm_shift")
    }
    y, _ = step(definition, torch.rand(20, 3, 64, *spatial).requires_grad_(), **given)
    y.sum().backward()
    check(kernels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_products_of_bits(dtype: torch.dtype, kernels: Any, generation: int) -> None:
    edge = torch.zeros(20, 32, 100, dtype=dtype, requires_grad=True)
    bits = torch.zeros(3, 32, 100, dtype=torch.uint8)
    weight = torch.rand(70, 100, dtype=dtype, requires_grad=True)
    product(Spikes(edge, bits), weight).sum().backward()
    check(kernels, ("product", "weight_gradient"), most=MOST_OF_PRODUCTS)
    assert all("mma" in kernel["ptx"] for kernel in kernels.values())


def feed_back(definition: Step, features: int, dtype: torch.dtype = torch.float32) -> None:
    """A call with feedback and its backward pass; the weight's gradient is a product of bits."""
    x = torch.rand(20, 32, features, dtype=dtype)
    weight = torch.rand(features, features, dtype=dtype)
    bias = torch.zeros(features, requires_grad=True)
    y, _ = recurrent(definition, x, weight=weight, bias=bias, pack=dtype == torch.bfloat16)
    (y.edge if isinstance(y, Spikes) else y).sum().backward()


@pytest.mark.parametrize(
    ("features", "dtype"),
    [(64, torch.float64), (256, torch.float32), (256, torch.bfloat16)],
    ids=str,
)
def test_feedback(features: int, dtype: torch.dtype, kernels: Any, generation: int) -> None:
    """512 threads have 128 registers each; the weight of 64 neurons is in those of 256."""
    feed_back(LIF, features, dtype)
    check(kernels, most=192 if dtype == torch.float64 else 128)
    assert "mma" in kernels["forward"]["ptx"]


@pytest.mark.parametrize("name", ["AdEx", "BalancedResonateAndFire", "GLIF", "QIF"])
def test_neurons_of_many_values_fed_back(name: str, kernels: Any) -> None:
    """Of 64 neurons; at 256 those of several states spill more (docs/design.md)."""
    driver.set_active(Absent(80 if len(name) % 2 else 90))
    feed_back(STEPS[name], 64)
    check(kernels, most=192, spilled=64)


def test_odd_shapes_and_a_dense_gradient(kernels: Any, generation: int) -> None:
    y, _ = step(LIF, torch.rand(3, 2, 5).requires_grad_())
    (y * torch.rand(3, 2, 5)).sum().backward()
    check(kernels)
    kernels.clear()
    step(LIF, torch.rand(20, 1, 1))
    assert set(kernels) == {"forward"}


def test_products_and_sums_stay_apart(kernels: Any, generation: int, tmp_path: Path) -> None:
    """So that a step of + - * / gives the reference's results to the last bit."""
    call(LIF, surrogate=triangle(1.5), v_rest=0.1)
    for kernel in kernels.values():
        found = instructions(kernel["cubin"], tmp_path)
        assert "FMUL" in found
        assert "FFMA" not in found


def test_one_kernel_serves_every_number_of_steps(kernels: Any, generation: int) -> None:
    keys = set()
    for steps in (1, 2, 16):
        y, _ = step(LIF, torch.rand(steps, 3, 64).requires_grad_())
        y.sum().backward()
        key = prepared(LIF, torch.rand(steps, 3, 64)).program
        module = launch.generated(program_of(key).text)
        for kernel in (module.forward, module.backward):
            keys.add((kernel, *kernel.device_caches[generation][0]))
    assert len(keys) == 2
