"""Generated Triton kernels against the loop in torch, in Triton's interpreter on CPU tensors.

`test_triton.py` runs this file in a process of its own, with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from steps import ALIF, CURRENTS, LIF, ROWS, values_of
from steps import compare as against
from torch import Tensor

import spikegrad as sg
from spikegrad import kernels, neurons
from spikegrad.functional.readout import LI
from spikegrad.kernels.triton import module, step, trial
from spikegrad.kernels.triton.launch import BLOCK
from spikegrad.kernels.triton.step import finished, prepared
from spikegrad.step import Step
from spikegrad.surrogate import Surrogate, arctan, boxcar, gaussian, straight_through

assert os.environ["TRITON_INTERPRET"] == "1"
ONE_INPUT = sorted(n for n, model in neurons.models().items() if not model.step.inputs)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules and verdicts in a folder of the test's own."""
    monkeypatch.setenv("SPIKEGRAD_CACHE", str(tmp_path))
    monkeypatch.setattr(trial, "KNOWN", {})
    monkeypatch.setattr(trial, "FAILED", {})


def compare(
    definition: Step, x: Tensor, values: dict[str, Any], *, exact: bool, **args: Any
) -> float:
    """The kernel against the loop, values and gradients; returns the rate."""
    return against(definition, partial(step, definition), x, values, exact=exact, **args)


@pytest.mark.parametrize(
    ("definition", "row"),
    [*((LIF, row) for row in ROWS), *((ALIF, row) for row in ROWS[1:4])],
    ids=[*(f"lif-{n}" for n in range(len(ROWS))), *(f"alif-{n}" for n in range(1, 4))],
)
def test_a_step_of_arithmetic_equals_the_loop_to_the_last_bit(definition: Step, row: Any) -> None:
    surrogate, reset, refractory, detach, each, learn, lean, double = row
    torch.manual_seed(1)
    dtype = torch.float64 if double else torch.float32
    rate = compare(
        definition,
        torch.rand(34, 3, 7, dtype=dtype),
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
@pytest.mark.parametrize("row", ROWS[:2], ids=["of a layer", "of each neuron"])
def test_every_model_equals_the_loop(name: str, row: Any) -> None:
    _, _, refractory, detach, each, learn, lean, double = row
    definition = neurons.models()[name].step
    torch.manual_seed(1)
    dtype = torch.float64 if double else torch.float32
    learn = learn or double
    current = CURRENTS.get(name, 2.0)
    x = torch.rand(34, 3, 7, dtype=dtype) * 1.7 * current - 0.2 * current
    values = values_of(definition, dtype, each=each, learn=learn)
    rate = compare(
        definition, x, values, exact=False, refractory=refractory, detach_reset=detach, lean=lean
    )
    assert rate > 0


@pytest.mark.parametrize("columns", [1, BLOCK // 2, BLOCK // 2 + 1, 150])
@pytest.mark.parametrize("each", [False, True])
def test_blocks_of_columns(columns: int, each: bool) -> None:
    torch.manual_seed(1)
    values = values_of(ALIF, torch.float32, each=each, learn=True, columns=columns)
    compare(ALIF, torch.rand(30, 2, columns), values, exact=True)


@pytest.mark.parametrize("steps", [1, 15, 16, 33])
def test_lengths_around_a_segment(steps: int) -> None:
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
    compare(LI, torch.rand(40, 3, 7), values, exact=True)


def test_a_learned_slope() -> None:
    found = []
    for run in (LIF, lambda *a, **named: step(LIF, *a, **named)):
        slope = torch.full((7,), 2.0, dtype=torch.float64, requires_grad=True)
        x = torch.rand(30, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        y, _ = run(x, slope=slope, surrogate=gaussian(2.0))
        (y * x).sum().backward()
        found.append(slope.grad)
    assert torch.allclose(*found, rtol=1e-11)
    assert found[0].abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("lean", [False, True])
def test_half_types_have_float32_states(dtype: torch.dtype, lean: bool) -> None:
    torch.manual_seed(1)
    x, found = torch.rand(33, 3, 2, 4).to(dtype), []
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
    weights = torch.rand(20, 9, 6)
    loss = {
        "mean over time": lambda y, end: y.mean(0).square().sum(),
        "sum": lambda y, end: y.sum(),
        "last": lambda y, end: y[-1].sum(),
        "transposed": lambda y, end: (y.transpose(1, 2) * weights).sum(),
        "state alone": lambda y, end: end.v.sum(),
    }[how]
    x, found = torch.rand(20, 6, 9), []
    for kernel in (False, True):
        given = x.clone().requires_grad_()
        loss(*(step(LIF, given) if kernel else LIF(given))).backward()
        found.append(given.grad)
    assert torch.equal(*found)


def test_inputs_of_every_layout() -> None:
    torch.manual_seed(1)
    for x in (
        torch.rand(20, 3, 2, 4, 5),
        torch.rand(1, 3, 5).expand(20, 3, 5),
        torch.rand(20, 3, 5, 2).transpose(2, 3),
        torch.rand(40, 3, 5)[::2],
        torch.rand(20, 1, 5).expand(20, 3, 5),
    ):
        want, end = ALIF(x)
        got, mine = step(ALIF, x)
        assert torch.equal(want, got)
        assert torch.equal(end.a, mine.a)


UNARY = ("neg", "reciprocal", "abs", "floor", "ceil", "trunc", "round", "sqrt", "exp", "expm1",
         "log", "log1p", "tanh", "sigmoid", "sin", "cos", "atan", "erf", "square", "sign",
         "relu")  # fmt: skip
OTHERS = {
    "pow": lambda u: u.abs() ** 1.3,
    "power of": lambda u: torch.pow(1.7, u),
    "maximum": lambda u: torch.maximum(u, 1.0 - u),
    "minimum": lambda u: torch.minimum(u, 1.0 - u),
    "where": lambda u: torch.where(u >= 0.4, u, -u),
    "masks": lambda u: torch.where(((u > 0.2) & (u <= 0.6)) | ~(u < 1.0) | (u == 0.1), u, 2.0 * u),
    "unequal": lambda u: torch.where(u != 0.3, u / 3.0, u),
    "constants": lambda u: u * torch.tensor(0.1) / 0.3 + torch.where(u < 3.0, 0.25, math.inf),
}


@pytest.mark.parametrize("name", [*UNARY, *OTHERS])
def test_every_operation(name: str) -> None:
    dtype = torch.float64 if name in ("sqrt", "reciprocal", "sigmoid", "erf") else torch.float32
    operation = OTHERS.get(name) or getattr(torch, name)
    above = name in ("sqrt", "log", "log1p", "reciprocal")

    def odd(x: Tensor, s: Any, p: Any) -> Any:
        u = operation(p.beta * s.v + (x.abs() + 0.1 if above else x))
        fired = p.spike(u, p.threshold)
        return fired, {"v": 0.5 * torch.clamp(u, 0.1 if above else -2.0, 2.0)}

    definition = Step(odd, states={"v": 0.25}, parameters={"beta": 0.9, "threshold": 0.7})
    torch.manual_seed(1)
    x = torch.rand(22, 2, 3, dtype=dtype) * 4.0 - 2.0
    values = {"threshold": torch.tensor(0.7, dtype=dtype, requires_grad=True)}
    exact = name in ("floor", "ceil", "trunc", "round", "sqrt", "reciprocal", "maximum", "masks")
    compare(definition, x, values, exact=exact)


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
    found = {}
    for surrogate in (arctan(2.0), boxcar(), straight_through()):
        x = torch.rand(50, 2, 16).requires_grad_()
        y, _ = step(LIF, x, surrogate=surrogate)
        node: Any = y.grad_fn
        while not hasattr(node, "saved_tensors"):  # behind the views of the output
            node = node.next_functions[0][0]
        kept = [t for t in node.saved_tensors if t is not None and t.shape[:1] == (50,)]
        found[surrogate.name] = sum(t.numel() * t.element_size() for t in kept) / x.numel()
    assert found == {"arctan": 4.0, "boxcar": 1.0, "straight_through": 0.0}


def test_nothing_is_kept_without_a_gradient() -> None:
    x = torch.rand(5, 2, 3)
    assert not prepared(LIF, x).call.keep
    assert prepared(LIF, x.clone().requires_grad_()).call.keep
    with torch.no_grad():
        assert not prepared(LIF, x.clone().requires_grad_()).call.keep


def test_a_second_derivative_is_refused() -> None:
    x = torch.rand(5, 2, 3).requires_grad_()
    y, _ = step(LIF, x)
    (first,) = torch.autograd.grad((y * x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="backend='reference'"):
        first.sum().backward()


def test_a_kernel_that_agrees_is_used_and_the_verdict_kept(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    x = torch.rand(10, 2, 3)
    calls = []
    original = trial.compared
    monkeypatch.setattr(trial, "compared", lambda *a: calls.append(a) or original(*a))
    for _ in range(2):
        step(ALIF, x.clone().requires_grad_(), checked=True, refractory=1)
        assert len(calls) == 1
        trial.KNOWN.clear()  # as in another process
    assert [v.differs for v in trial.verdicts()] == [""]
    assert trial.verdicts()[0].neuron == "alif"
    assert not [w for w in recwarn if w.category is sg.SpikegradWarning]


def test_a_kernel_that_differs_is_replaced_by_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(*args: Any) -> Any:
        y, end = finished(*args)
        return y * 0.5, end

    original = trial.SCAN
    monkeypatch.setattr(trial, "SCAN", original._replace(finished=wrong))
    x = torch.rand(10, 2, 3)
    says = r"lif runs in torch.*the output differs at \d+ of \d+ places.*0.5 instead of 1"
    with pytest.warns(sg.SpikegradWarning, match=says):
        y, end = step(LIF, x, checked=True)
    want, state = LIF(x)
    assert torch.equal(y, want)
    assert torch.equal(end.v, state.v)
    assert "the output differs" in trial.verdicts()[0].differs
    monkeypatch.setattr(trial, "SCAN", original)
    monkeypatch.setattr(trial, "compared", None)
    trial.KNOWN.clear()  # another process reads the verdict, and warns again
    trial.FAILED.clear()
    with pytest.warns(sg.SpikegradWarning, match="the output differs"):
        step(LIF, x, checked=True)


def test_a_kernel_that_fails_is_replaced_by_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> Any:
        raise RuntimeError("no space left on the device")

    monkeypatch.setattr(trial, "SCAN", trial.SCAN._replace(finished=fails))
    x = torch.rand(10, 2, 3)
    with pytest.warns(sg.SpikegradWarning, match="RuntimeError: no space left"):
        y, _ = step(LIF, x, checked=True)
    assert torch.equal(y, LIF(x)[0])
    assert trial.verdicts() == []  # the next process tries again


@pytest.mark.parametrize("name", ONE_INPUT)
def test_every_model_agrees_with_the_reference_in_its_trial(name: str) -> None:
    definition = neurons.models()[name].step
    torch.manual_seed(1)
    x = torch.rand(10, 2, 5) * 1.7 * CURRENTS.get(name, 2.0)
    assert trial.compared(trial.SCAN, definition, x, {}) == ""


SCANS: dict[str, dict[str, float]] = {
    "integrate_and_fire": {"threshold": 1.2},
    "lif": {"beta": 0.9, "threshold": 0.3, "v_rest": 0.1, "v_reset": 0.05},
    "cuba_lif": {"alpha": 0.8, "beta": 0.9},
    "alif": {"beta": 0.9, "rho": 0.95, "kappa": 0.2},
    "li": {"beta": 0.9},
}


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("each", [False, True])
def test_every_scan_by_name(scan: str, each: bool) -> None:
    torch.manual_seed(1)
    x, found = torch.rand(20, 3, 5), []
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


def test_a_network_by_name() -> None:
    torch.manual_seed(1)
    network = sg.Sequential(
        sg.Linear(6, 8), sg.LIF(10.0, learn="tau_mem"), sg.Linear(8, 4), sg.AdEx(), sg.LI(10.0)
    )
    x, found = torch.rand(12, 3, 6) * 3.0, []
    for backend in ("reference", "triton"):
        sg.nn.use_backend(network, backend)
        network.zero_grad()
        y, _ = network(x)
        y.square().sum().backward()
        found.append([y, *(p.grad for p in network.parameters())])
    for want, got in zip(*found, strict=True):
        assert torch.allclose(want, got, rtol=1e-4, atol=1e-6)


def test_choices_and_their_reasons() -> None:
    x = torch.rand(3, 2, 5)
    assert kernels.choose("lif", "triton", x).backend == "triton"
    assert kernels.choose_step(LIF, "triton", x).backend == "triton"
    assert kernels.choose("lif", "auto", x).backend != "triton"  # a CPU tensor
    for scan in ("linear", "conv2d", "max_pool2d", "spiking"):
        assert kernels.choose(scan, "triton", x).backend == "reference"
    with pytest.raises(sg.UserError, match=r"backend='triton' can run.*soft mode"):
        kernels.choose_step(LIF, "triton", x, {"surrogate": arctan(2.0).soft()})

    def mean(x: Tensor, s: Any, p: Any) -> Any:
        fired = p.spike(x - x.mean(), p.threshold)
        return fired, {"v": fired}

    mixed = Step(mean, states={"v": 0.0}, parameters={"threshold": 1.0})
    with pytest.raises(sg.UserError, match=r"backend='triton' can run.*mean mixes neurons"):
        kernels.choose_step(mixed, "triton", x)
    assert kernels.choose_step(LIF, "triton", x, {"trace": True}).backend == "reference"


def test_a_parameter_named_as_an_argument_of_the_kernels() -> None:
    """A step's own `bias` was taken for the connection's, and its value for the default."""

    def biased(x: Tensor, s: Any, p: Any) -> Any:
        fired = p.spike(x + p.bias, p.threshold)
        return fired, {"v": fired}

    definition = Step(biased, states={"v": 0.0}, parameters={"threshold": 1.0, "bias": 0.2})
    with pytest.raises(sg.UserError, match=r"backend='triton' can run.*named bias"):
        kernels.choose_step(definition, "triton", torch.rand(3, 2, 5))


def test_sg_check_compares_triton_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "available", lambda: {"reference": "", "triton": ""})
    found = sg.check(sg.ResonateAndFire)
    assert len(found.rows) == 8
    assert {row.verdict for row in found.rows} <= {"equal", "close"}


def test_explain_names_the_kernel() -> None:
    network = sg.Sequential(sg.Linear(6, 8), sg.LIF(10.0), sg.AdEx(), backend="triton")
    rows = sg.diagnose.explain(network, torch.rand(4, 2, 6))
    assert [(row.layers, row.backend) for row in rows] == [
        (("0", "1"), "triton"),
        (("2",), "triton"),
    ]
    assert rows[1].reason == "chosen by name"
    assert not any(row.advice for row in rows)


def test_doctor_shows_the_verdicts() -> None:
    about = kernels.get("triton").about  # what doctor prints
    step(LIF, torch.rand(10, 2, 3), checked=True)
    assert about().endswith("; 1 kernels agreed with the reference")
    trial.put(
        module.folder() / "verdicts" / "other.json",
        '{"neuron": "alif", "device": "GPU 1", "torch": "2", "triton": "3", "differs": "the x"}',
    )
    assert about().endswith("; not used: alif on GPU 1 (the x)")
