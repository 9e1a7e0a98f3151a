"""Neurons written as steps: the generated kernel against the loop, values and all gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from native import Seen, named
from steps import ALIF, AVERAGE, CURRENTS, LIF, PLAIN, ROWS, values_of
from steps import compare as against
from torch import Tensor

import spikegrad as sg
from spikegrad import kernels, neurons
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu.instructions import LANE_BYTES
from spikegrad.step import Step
from spikegrad.surrogate import Surrogate, arctan, boxcar, gaussian, straight_through

pytestmark = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")


def compare(step: Step, x: Tensor, values: dict[str, Tensor], exact: bool, **args: Any) -> float:
    """The generated kernel against the loop; returns the rate."""
    native = partial(kernels.step, step, backend="cpu")
    return against(step, native, x, values, exact=exact, **args)


@pytest.mark.parametrize("step", [LIF, ALIF], ids=["lif", "alif"])
@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_a_step_of_arithmetic_equals_the_loop_to_the_last_bit(step: Step, row: Any) -> None:
    surrogate, reset, refractory, detach, each, learn, lean, double = row
    torch.manual_seed(1)
    dtype = torch.float64 if double else torch.float32
    rate = compare(
        step,
        torch.rand(40, 3, 7, dtype=dtype),
        values_of(step, dtype, each=each, learn=learn),
        exact=True,
        surrogate=surrogate,
        reset=reset,
        refractory=refractory,
        detach_reset=detach,
        lean=lean,
    )
    assert rate > 0.02


@pytest.mark.parametrize("name", sorted(neurons.models()))
@pytest.mark.parametrize("row", [ROWS[0], ROWS[1], ROWS[6]], ids=["fixed", "lean", "learned"])
def test_every_model_equals_the_loop(name: str, row: Any) -> None:
    _, _, refractory, detach, each, learn, lean, double = row
    step = neurons.models()[name].step
    torch.manual_seed(1)
    dtype = torch.float64 if double else torch.float32
    current = CURRENTS.get(name, 2.0)
    several = (len(step.inputs),) if step.inputs else ()
    x = torch.rand(40, 3, *several, 7, dtype=dtype) * 1.7 * current - 0.2 * current
    if several:  # the others may inhibit
        x[:, :, 1:] *= 0.2
    values = values_of(step, dtype, each=each, learn=learn)
    rate = compare(
        step, x, values, exact=False, refractory=refractory, detach_reset=detach, lean=lean
    )
    assert rate > 0


@pytest.mark.parametrize("columns", [1, 7, 64, 511, 512, 513, 1200])
@pytest.mark.parametrize("each", [False, True])
def test_blocks_of_columns(columns: int, each: bool) -> None:
    torch.manual_seed(1)
    x = torch.rand(30, 2, columns)
    noise = torch.rand(columns) * 0.01 + 1.0
    values = {
        k: (v * noise if each else torch.tensor(v)).requires_grad_()
        for k, v in ALIF.defaults().items()
    }
    compare(ALIF, x, values, exact=True)


def test_a_neuron_that_never_spikes() -> None:
    compare(AVERAGE, torch.rand(40, 3, 7), {"beta": torch.tensor(0.9).requires_grad_()}, exact=True)


def test_parameters_may_have_the_names_of_the_surrogates() -> None:
    def named(x: Tensor, s: Any, p: Any) -> Any:
        u = p.slope * s.v + p.gain * x
        fired = p.spike(u, p.amplitude)
        return fired, {"v": p.reset(u, fired, drop=p.amplitude)}

    values = {"slope": 0.9, "gain": 0.4, "amplitude": 1.1}
    step = Step(named, states={"v": 0.0}, parameters=values)
    torch.manual_seed(1)
    found = values_of(step, torch.float32, each=False, learn=True)
    assert compare(step, torch.rand(40, 3, 7), found, exact=True) > 0


def test_a_learned_slope() -> None:
    torch.manual_seed(1)
    found = []
    for backend in ("reference", "cpu"):
        slope = torch.full((7,), 2.0, dtype=torch.float64, requires_grad=True)
        x = torch.rand(30, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        y, _ = kernels.step(LIF, x, backend=backend, slope=slope, surrogate=gaussian(2.0))
        (y * x).sum().backward()
        found.append(slope.grad)
    assert torch.allclose(*found, rtol=1e-11)
    assert found[0].abs().min() > 0


@pytest.mark.parametrize("how", ["mean over time", "sum", "last", "transposed"])
def test_gradients_of_every_layout(how: str) -> None:
    torch.manual_seed(1)
    x = torch.rand(20, 6, 9)
    loss = {
        "mean over time": lambda y: y.mean(0).square().sum(),
        "sum": lambda y: y.sum(),
        "last": lambda y: y[-1].sum(),
        "transposed": lambda y: (y.transpose(1, 2) * torch.rand(20, 9, 6)).sum(),
    }[how]
    found = []
    for backend in ("reference", "cpu"):
        torch.manual_seed(2)
        given = x.clone().requires_grad_()
        loss(kernels.step(LIF, given, backend=backend)[0]).backward()
        found.append(given.grad)
    assert torch.equal(*found)


def test_half_types_features_and_a_static_input() -> None:
    torch.manual_seed(1)
    step = ALIF
    for x in (
        torch.rand(20, 3, 2, 4, 5).half(),
        torch.rand(20, 3, 5).bfloat16(),
        torch.rand(1, 3, 5).expand(20, 3, 5),
        torch.rand(20, 3, 5, 2).transpose(2, 3),
    ):
        want, end = step(x)
        got, mine = kernels.step(step, x, backend="cpu")
        assert got.dtype == x.dtype
        assert torch.equal(want, got)
        assert end.a.dtype == mine.a.dtype
        assert torch.equal(end.a, mine.a)


def test_what_is_kept_is_little() -> None:
    found = {}
    for surrogate in (arctan(2.0), boxcar(), straight_through()):
        x = torch.rand(100, 4, 512).requires_grad_()
        y, _ = kernels.step(LIF, x, backend="cpu", surrogate=surrogate)
        node: Any = y.grad_fn
        while not hasattr(node, "saved_tensors"):  # behind the views of the output
            node = node.next_functions[0][0]
        saved = [t for t in node.saved_tensors if t is not None]
        kept = sum(t.numel() * t.element_size() for t in saved if t.dim() == 4)
        found[surrogate.name] = kept / x.numel()
    bits = 2 / (LANE_BYTES[cpu.isa()] // 4)  # 16 for the lanes of a vector
    assert found == {"arctan": 4.0, "boxcar": bits, "straight_through": 0.0}


def test_nothing_is_kept_without_a_gradient() -> None:
    kept = []
    for grad in (False, True):
        x = torch.rand(5, 2, 3).requires_grad_(grad)
        with Seen() as seen:
            kernels.step(LIF, x, backend="cpu")
            with torch.no_grad():
                kernels.step(LIF, x, backend="cpu")
        kept += [named(*call)["keep"] for call in seen.calls]
    assert kept == [False, False, True, False]


def test_a_second_derivative_is_refused() -> None:
    x = torch.rand(5, 2, 3).requires_grad_()
    y, _ = kernels.step(LIF, x, backend="cpu")
    (first,) = torch.autograd.grad((y * x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="backend='reference'"):
        first.sum().backward()


def with_operation(operation: Any) -> Step:
    """LIF with something else in its step."""

    def odd(x: Tensor, s: Any, p: Any) -> Any:
        u = operation(p.beta * s.v + x)
        fired = p.spike(u, p.threshold)
        return fired, {"v": p.reset(u, fired)}

    return Step(odd, states={"v": 0.0}, parameters=PLAIN)


HELD = torch.rand(7)


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        (lambda u: u - u.mean(), "mean mixes neurons"),
        (lambda u: u + torch.rand_like(u), "random"),
        (lambda u: u if bool((u > 0).all()) else -u, "torch.where"),
        (lambda u: u * u.shape[0], "shape"),
        (lambda u: torch.special.i0(u), "i0 has no native form"),
        (lambda u: u.int().to(u.dtype), "int32"),
    ],
    ids=["mean", "random", "branch", "shape", "i0", "int"],
)
def test_a_step_without_a_native_form_says_why_and_runs(operation: Any, says: str) -> None:
    step = with_operation(operation)
    x = torch.rand(5, 2, 7)
    with pytest.raises(sg.UserError, match=says):
        kernels.step(step, x, backend="cpu")
    kernels.dispatch.warn_once.cache_clear()
    with pytest.warns(sg.SpikegradWarning, match=says):
        y, _ = kernels.step(step, x)
    assert y.shape == x.shape


def test_a_tensor_that_a_step_keeps_is_refused() -> None:
    held = torch.rand(3)
    step = with_operation(lambda u: u + held[: u.shape[-1]].sum())
    with pytest.raises(sg.UserError, match="has no native form"):
        kernels.step(step, torch.rand(5, 2, 3), backend="cpu")


def test_a_surrogate_of_the_users_own_is_compiled() -> None:
    sg.surrogate.register("bump", lambda z: 0.5 * torch.exp(-z.abs()), kinks=(0.0,))
    try:
        x = torch.rand(30, 3, 7)
        values = values_of(LIF, torch.float32, each=False, learn=True)
        compare(LIF, x, values, exact=False, surrogate=Surrogate("bump", 1.5))
        sg.surrogate.unregister("bump")
        sg.surrogate.register("bump", lambda z: 1 / (torch.pi * (1 + z * z)))
        compare(LIF, x, values, exact=False, surrogate=Surrogate("bump", 1.5))
    finally:
        sg.surrogate.unregister("bump")


def test_a_layer_takes_the_generated_kernel() -> None:
    layer = sg.AdEx(size=5, learn="a")
    assert kernels.choose_step(layer.step, "auto", torch.rand(3, 2, 5)).backend == "cpu"
    for backend, why in (("auto", "soft"), ("auto", "trace")):
        args = {"surrogate": arctan(2.0).soft()} if why == "soft" else {"trace": True}
        choice = kernels.choose_step(layer.step, backend, torch.rand(3, 2, 5), args)
        assert choice.backend == "reference"
