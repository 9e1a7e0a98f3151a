"""Generated Triton kernels against the loop in torch, in Triton's interpreter on CPU tensors.

`test_triton.py` runs this file in a process of its own, with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from functools import cache, partial
from typing import Any, NamedTuple

import pytest
import torch
from kinds import FORMS, KINDS, results
from steps import ALIF, CURRENTS, LIF, ROWS, values_of
from steps import compare as against
from torch import Tensor

import spikegrad as sg
from spikegrad import kernels, neurons
from spikegrad.functional.readout import LI
from spikegrad.kernels import forms
from spikegrad.kernels.triton import step
from spikegrad.kernels.triton.launch import BLOCK
from spikegrad.kernels.triton.step import prepared
from spikegrad.step import Step, graph
from spikegrad.surrogate import Surrogate, arctan, boxcar, gaussian, straight_through

assert os.environ["TRITON_INTERPRET"] == "1"
T = 22
"""Two chunks of 11 steps: two parts that are computed again, and two bytes of masks."""
ONE_INPUT = sorted(n for n, model in neurons.models().items() if not model.step.inputs)


def compare(
    definition: Step, x: Tensor, values: dict[str, Any], *, exact: bool, **args: Any
) -> float:
    """The kernel against the loop, values and gradients; returns the rate."""
    return against(definition, partial(step, definition), x, values, exact=exact, **args)


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_a_step_of_arithmetic_equals_the_loop_to_the_last_bit(row: int) -> None:
    """Two neurons in turn; `networks.py` runs the same programs with feedback."""
    definition = (ALIF, LIF)[row % 2]
    surrogate, reset, refractory, detach, each, learn, lean, double = ROWS[row]
    torch.manual_seed(1)
    dtype = torch.float64 if double else torch.float32
    rate = compare(
        definition,
        torch.rand(T, 3, 7, dtype=dtype),
        values_of(definition, dtype, each=each, learn=learn),
        exact=True,
        surrogate=surrogate,
        reset=reset,
        refractory=refractory,
        detach_reset=detach,
        lean=lean,
    )
    assert rate > 0.02


@pytest.mark.parametrize("name", ONE_INPUT)
def test_every_model_equals_the_loop(name: str) -> None:
    """Everything learned, in float64; `trials.py` compares them in float32 with nothing learned."""
    definition = neurons.models()[name].step
    torch.manual_seed(1)
    current = CURRENTS.get(name, 2.0)
    x = torch.rand(T, 3, 7, dtype=torch.float64) * 2.2 * current - 0.2 * current
    values = values_of(definition, torch.float64, each=True, learn=True)
    args = {"refractory": 2, "detach_reset": False}
    assert compare(definition, x, values, exact=False, **args) > 0


@pytest.mark.parametrize(
    ("kind", "form"),
    [*zip(KINDS, itertools.cycle((0, 1)), strict=False), ("inputs, escape, both", 1)],
)
def test_several_inputs_two_outputs_and_noise(kind: str, form: int) -> None:
    """To the last bit: surrogates and primitives here are of + - * / alone."""
    how = {"steps": (11, 11), **FORMS[form]}
    want, gradients = results(KINDS[kind], "reference", torch.float64, **how)
    got, ours = results(KINDS[kind], "triton", torch.float64, **how)
    assert 0.02 < want[0].mean() < 0.7
    assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True))
    assert torch.equal(gradients[0], ours[0])
    for one, other in zip(gradients, ours, strict=True):
        one, other = (torch.zeros(()) if g is None else g for g in (one, other))
        torch.testing.assert_close(other.double(), one.double(), rtol=1e-10, atol=1e-10)


def test_several_inputs_and_a_membrane_of_half_types() -> None:
    """The loss reads the membrane alone; noise is drawn in float32, as the loop draws it."""
    kind, found = KINDS["inputs, escape, both"], []
    for kernel in (False, True):
        torch.manual_seed(1)
        x = (torch.rand(9, 2, 2, 3, 2) * 2).to(torch.float16).requires_grad_()
        (y, u), end = step(kind, x) if kernel else kind(x)
        (u.float() * torch.linspace(-1, 1, u.numel()).reshape(u.shape)).sum().backward()
        found.append([y, u, *end[:-1], x.grad])
    for want, got in zip(*found, strict=True):
        assert want.dtype == got.dtype
        assert torch.allclose(want, got, rtol=2e-3, atol=1e-3)
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][0].any()


@pytest.mark.parametrize(
    ("columns", "each"), [(1, True), (BLOCK // 2, False), (BLOCK // 2 + 1, True)]
)
def test_blocks_of_columns(columns: int, each: bool) -> None:
    torch.manual_seed(1)
    values = values_of(ALIF, torch.float32, each=each, learn=True, columns=columns)
    compare(ALIF, torch.rand(12, 2, columns), values, exact=True)


@pytest.mark.parametrize("steps", [1, 15, 16, 33])
def test_lengths_around_a_segment(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many steps as in use."""
    monkeypatch.setattr(sys.modules["spikegrad.kernels.triton.step"], "SEGMENT", forms.SEGMENT)
    torch.manual_seed(1)
    x, found = torch.rand(steps, 2, 3), []
    for lean in (None, False, True):
        given = x.clone().requires_grad_()
        y, end = LIF(given) if lean is None else step(LIF, given, lean=lean)
        ((y * x).sum() + end.v.sum()).backward()
        found.append((y, end.v, given.grad))
    for ours in found[1:]:
        assert all(torch.equal(want, got) for want, got in zip(found[0], ours, strict=True))


def test_a_neuron_that_never_spikes() -> None:
    values = {"beta": torch.tensor(0.9).requires_grad_(), "gain": torch.tensor(0.1)}
    compare(LI, torch.rand(T, 3, 7), values, exact=True)


def test_a_learned_slope() -> None:
    found = []
    for run in (LIF, lambda *a, **named: step(LIF, *a, **named)):
        slope = torch.full((7,), 2.0, dtype=torch.float64, requires_grad=True)
        x = torch.rand(T, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        y, _ = run(x, slope=slope, surrogate=gaussian(2.0))
        (y * x).sum().backward()
        found.append(slope.grad)
    assert torch.allclose(*found, rtol=1e-11)
    assert found[0].abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("lean", [False, True])
def test_half_types_have_float32_states(dtype: torch.dtype, lean: bool) -> None:
    torch.manual_seed(1)
    x, found = torch.rand(T, 3, 2, 4).to(dtype), []
    for kernel in (False, True):
        given = x.clone().requires_grad_()
        beta = torch.tensor(0.9, requires_grad=True)
        y, end = step(LIF, given, lean=lean, beta=beta) if kernel else LIF(given, beta=beta)
        weights = torch.linspace(-1, 1, y.numel()).reshape(y.shape).to(dtype)
        ((y * weights).sum().float() + end.v.sum()).backward()
        found.append((y, end.v, given.grad, beta.grad))
    assert found[1][0].dtype == found[1][2].dtype == dtype
    assert found[1][1].dtype == torch.float32
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    # The interpreter cuts bits off where a GPU rounds to bfloat16.
    last = 2.0**-7 if dtype == torch.bfloat16 else 0.0
    assert torch.allclose(found[0][2], found[1][2], rtol=last, atol=0.0)
    assert torch.allclose(found[0][3], found[1][3], rtol=1e-5)


@pytest.mark.parametrize("how", ["mean over time", "sum", "last", "transposed", "state alone"])
def test_gradients_of_every_layout(how: str) -> None:
    torch.manual_seed(1)
    weights = torch.rand(12, 9, 6)
    loss = {
        "mean over time": lambda y, end: y.mean(0).square().sum(),
        "sum": lambda y, end: y.sum(),
        "last": lambda y, end: y[-1].sum(),
        "transposed": lambda y, end: (y.transpose(1, 2) * weights).sum(),
        "state alone": lambda y, end: end.v.sum(),
    }[how]
    x, found = torch.rand(12, 6, 9), []
    for kernel in (False, True):
        given = x.clone().requires_grad_()
        loss(*(step(LIF, given) if kernel else LIF(given))).backward()
        found.append(given.grad)
    assert torch.equal(*found)


def test_inputs_of_every_layout() -> None:
    torch.manual_seed(1)
    for x in (
        torch.rand(12, 3, 2, 4, 5),
        torch.rand(1, 3, 5).expand(12, 3, 5),
        torch.rand(12, 3, 5, 2).transpose(2, 3),
        torch.rand(24, 3, 5)[::2],
        torch.rand(12, 1, 5).expand(12, 3, 5),
    ):
        want, end = ALIF(x)
        got, mine = step(ALIF, x)
        assert torch.equal(want, got)
        assert torch.equal(end.a, mine.a)


class Operation(NamedTuple):
    """exact: of + - * / and rounding alone; low: the least argument."""

    function: Any
    exact: bool = False
    low: float = -2.0


def of_torch(words: str, exact: bool, low: float = -2.0) -> dict[str, Operation]:
    """Functions of torch by their names."""
    return {name: Operation(getattr(torch, name), exact, low) for name in words.split()}


OPERATIONS: dict[str, Operation] = {
    **of_torch("neg abs floor ceil trunc round square sign relu", exact=True),
    **of_torch("exp expm1 tanh sigmoid sin cos atan erf", exact=False),
    **of_torch("sqrt reciprocal", exact=True, low=0.1),
    **of_torch("log log1p", exact=False, low=0.1),
    "pow": Operation(lambda u: u.abs() ** 1.3),
    "power of": Operation(lambda u: torch.pow(1.7, u)),
    "maximum": Operation(lambda u: torch.maximum(u, 1.0 - u), True),
    "minimum": Operation(lambda u: torch.minimum(u, 1.0 - u), True),
    "where": Operation(lambda u: torch.where(u >= 0.4, u, -u), True),
    "masks": Operation(
        lambda u: torch.where(((u > 0.2) & (u <= 0.6)) | ~(u < 1.0) | (u == 0.1), u, 2.0 * u), True
    ),
    "unequal": Operation(lambda u: torch.where(u != 0.3, u / 3.0, u), True),
    "constants": Operation(
        lambda u: u * torch.tensor(0.1) / 0.3 + torch.where(u < 3.0, 0.25, math.inf), True
    ),
}
ALIKE = sorted({(one.exact, one.low) for one in OPERATIONS.values()})


@cache
def step_of(exact: bool, low: float) -> Step:
    """All operations of a kind in one step, which is traced once, each with a factor of its own."""
    chosen = [one.function for one in OPERATIONS.values() if (one.exact, one.low) == (exact, low)]

    def odd(x: Tensor, s: Any, p: Any) -> Any:
        u = p.beta * s.v + (x.abs() + low if low > 0 else x)
        total = sum((k + 1.0) * function(u) for k, function in enumerate(chosen))
        return p.spike(u, p.threshold), {"v": torch.clamp(total / len(chosen), max(low, -2.0), 2.0)}

    return Step(odd, states={"v": 0.25}, parameters={"beta": 0.9, "threshold": 0.7})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("alike", ALIKE, ids=str)
def test_every_operation(alike: tuple[bool, float], dtype: torch.dtype) -> None:
    """To the last bit, but for torch's square root of float32, whose last bit may be wrong."""
    (exact, low), single = alike, dtype == torch.float32
    torch.manual_seed(1)
    x = torch.rand(8, 2, 3, dtype=dtype) * 4.0 - 2.0
    threshold = torch.tensor(2.0 if low > 0 else 0.7, dtype=dtype, requires_grad=True)
    values = {"threshold": threshold}
    rate = compare(step_of(*alike), x, values, exact=exact and not (low > 0 and single))
    assert 0.1 < rate < 1.0


def test_no_operation_of_graphs_is_left_out() -> None:
    seen = set()
    for alike in ALIKE:
        step = step_of(*alike)
        form = forms.form_of(step, step.surrogate, step.reset, True, False, ("threshold",))
        seen |= {node.op for node in forms.traced(step, form)[0].graph.nodes}
    assert set(graph.OPERATIONS) <= seen


def test_not_a_number_stays_one() -> None:
    def clipped(x: Tensor, s: Any, p: Any) -> Any:
        v = torch.minimum(torch.maximum(0.5 * s.v + x, s.v * 0.0 - 1.0), s.v * 0.0 + 1.0)
        return v, {"v": v}

    definition = Step(clipped, states={"v": 0.0}, parameters={"beta": 0.9}, spikes=False)
    x = torch.rand(6, 2, 3)
    x[2, 0, 1], x[3, 1, 2] = math.nan, math.inf
    want, got = definition(x)[0], step(definition, x)[0]
    assert torch.equal(want.isnan(), got.isnan())
    assert torch.equal(want.nan_to_num(), got.nan_to_num())
    assert want.isnan().sum() == 4


def test_a_surrogate_of_the_users_own() -> None:
    sg.surrogate.register("bump", lambda z: 0.5 * torch.exp(-z.abs()), kinks=(0.0,))
    try:
        values = values_of(LIF, torch.float32, each=False, learn=True)
        surrogate = Surrogate("bump", 1.5)
        compare(LIF, torch.rand(40, 3, 7), values, exact=False, surrogate=surrogate)
    finally:
        sg.surrogate.unregister("bump")


def test_what_is_kept_is_little() -> None:
    """Bytes a neuron-step; those of states do not grow with time."""
    found = {}
    for surrogate in (arctan(2.0), boxcar(), straight_through()):
        x = torch.rand(64, 2, 16).requires_grad_()
        kept: list[Tensor] = []
        hooks = (lambda t, kept=kept: kept.append(t) or t), (lambda t: t)
        with torch.autograd.graph.saved_tensors_hooks(*hooks):
            step(LIF, x, surrogate=surrogate)
        over_time = [t for t in kept if t.numel() >= x.numel() // 8]
        found[surrogate.name] = sum(t.numel() * t.element_size() for t in over_time) / x.numel()
    assert found == {"arctan": 4.0, "boxcar": 0.125, "straight_through": 0.0}


def test_nothing_is_kept_without_a_gradient() -> None:
    x = torch.rand(5, 2, 3)
    assert not prepared(LIF, x).keep
    assert prepared(LIF, x.clone().requires_grad_()).keep
    with torch.no_grad():
        assert not prepared(LIF, x.clone().requires_grad_()).keep


def test_a_second_derivative_is_refused() -> None:
    x = torch.rand(5, 2, 3).requires_grad_()
    y, _ = step(LIF, x)
    for loss in ((y * x).sum(), y.sum()):  # the gradient of the second is no part of a graph
        (first,) = torch.autograd.grad(loss, x, create_graph=True)
        with pytest.raises(RuntimeError, match="backend='reference'"):
            first.sum().backward(retain_graph=True)


SCANS: dict[str, dict[str, float]] = {
    "integrate_and_fire": {"threshold": 1.2},
    "lif": {"beta": 0.9, "threshold": 0.3, "v_rest": 0.1, "v_reset": 0.05},
    "cuba_lif": {"alpha": 0.8, "beta": 0.9},
    "alif": {"beta": 0.9, "rho": 0.95, "kappa": 0.2},
    "li": {"beta": 0.9},
}


@pytest.mark.parametrize("scan", SCANS)
def test_every_scan_by_name(scan: str) -> None:
    torch.manual_seed(1)
    x, found, each = torch.rand(12, 3, 5), [], scan != "lif"
    for backend in ("reference", "triton"):
        values = {k: torch.full((5,) if each else (), v).requires_grad_()
                  for k, v in SCANS[scan].items()}  # fmt: skip
        how = {} if scan == "li" else {"refractory": 2, "reset": "zero"}
        given = x.clone().requires_grad_()
        args = {**values, **how, "gain": "leak"} if scan == "lif" else {**values, **how}
        y, end = getattr(kernels, scan)(given, backend=backend, **args)
        ((y * x).sum() + end.v.sum()).backward()
        found.append([y, *end, given.grad, *(v.grad for v in values.values())])
    for want, got in zip(*found, strict=True):
        assert (want is None) == (got is None)
        assert want is None or torch.allclose(want, got, rtol=1e-4, atol=1e-5)
    assert torch.equal(found[0][0], found[1][0])
    assert scan == "li" or found[0][0].any()
