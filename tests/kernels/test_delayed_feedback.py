"""Feedback with delays in one call: what the specification gives, values and every gradient.

Numbers are dyadic, so that spikes do not depend on the order of sums.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
import torch
from delayed import delays, drawn, taps_of
from native import needs_kernels, poisoned, threads
from torch import Tensor

import spikegrad as sg
from spikegrad import functional as F
from spikegrad import kernels
from spikegrad.kernels import cpu
from spikegrad.nn.connectivity import connect
from spikegrad.surrogate import arctan, boxcar, triangle
from spikegrad.types import DelayedFeedbackState, Edges

pytestmark = needs_kernels
TYPES = {"float32": torch.float32, "float64": torch.float64}
SHAPES = {
    "some": (14, 3, 5, 4),
    "several groups and tiles": (23, 35, 70, 6),
    "shorter than the delays": (3, 2, 64, 9),
    "longer than the window": (60, 2, 9, 3),
    "many taps in a window that moves": (60, 2, 9, 12),
    "one step": (1, 2, 3, 2),
}
"""T, B, N and the longest delay."""
NEURONS = {
    "lif, triangle": (F.lif, {"beta": 0.5, "surrogate": triangle(2.0)}),
    "lif, arctan": (F.lif, {"beta": 0.75, "surrogate": arctan(2.0), "reset": "zero"}),
    "alif": (F.alif, {"beta": 0.5, "rho": 0.75, "kappa": 0.5, "surrogate": boxcar(0.5)}),
    "cuba_lif": (F.cuba_lif, {"beta": 0.5, "alpha": 0.75, "surrogate": triangle(1.0)}),
}


def edges_of(neurons: int) -> Edges:
    mask = torch.rand(neurons, neurons, generator=torch.Generator().manual_seed(0)) < 0.4
    mask[:, 1::5] = False
    mask[0, 0] = True
    return connect(mask, neurons, neurons).edges


def case(kind: str, shape: str, dtype: torch.dtype, sparse: bool) -> dict[str, Any]:
    steps, batch, neurons, most = SHAPES[shape]
    edges = edges_of(neurons) if sparse else None
    size = (neurons, neurons) if edges is None else tuple(edges.targets.shape)
    return {
        "leaves": {
            "x": drawn(1, (steps, batch, neurons), dtype),
            "weight": drawn(3, size, dtype),
            "delay": delays(4, size, dtype, most),
            "current": drawn(6, (batch, most + 1, neurons), dtype),
        },
        "g": drawn(7, (steps, batch, neurons), dtype),
        "left": drawn(8, (batch, most + 1, neurons), dtype),
        "edges": edges,
        "kind": kind,
        "most": most,
    }


def outcome(
    run: Any, case: dict[str, Any], neuron: str = "lif, triangle", cuts: tuple[int, ...] = ()
) -> dict[str, Tensor]:
    """Spikes, states at the end, and the gradient of every leaf that has one."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in case["leaves"].items()}
    taps = taps_of(case["kind"], leaves["weight"], leaves["delay"], case["most"])
    scan, args = NEURONS[neuron]
    state: Any = DelayedFeedbackState(None, leaves["current"])
    parts = []
    for part in torch.tensor_split(leaves["x"], cuts):
        y, state = run(part, state, taps=taps, edges=case["edges"], neuron=partial(scan, **args))
        parts.append(y)
    y = torch.cat(parts)
    value = (y * case["g"]).sum() + (state.current * case["left"]).sum()
    value = value + sum(part.sum() for part in state.neuron if part is not None)
    found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    pairs = {name: g for name, g in zip(leaves, found, strict=True) if g is not None}
    ends = {f"end {k}": part.detach() for k, part in enumerate(state.neuron) if part is not None}
    return {"y": y.detach(), "left": state.current.detach(), **ends, **pairs}


def native(x: Tensor, state: Any, *, neuron: Any, **how: Any) -> Any:
    """The kernel itself."""
    return kernels.delayed_recurrent(x, state, neuron=neuron, backend="cpu", **how)


def same(found: dict[str, Tensor], want: dict[str, Tensor], dtype: torch.dtype) -> None:
    assert found.keys() == want.keys()
    assert torch.equal(found["y"], want["y"])
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    for name in want:
        scale = max(1.0, float(want[name].abs().max()))
        assert torch.allclose(found[name], want[name], tolerance, tolerance * scale), name


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["integer", "interpolation", "narrow", "wide"])
@pytest.mark.parametrize("dtype", TYPES)
def test_feedback(dtype: str, kind: str, shape: str, sparse: bool) -> None:
    made = case(kind, shape, TYPES[dtype], sparse)
    with poisoned():
        found = outcome(native, made)
    want = outcome(F.delayed_recurrent, made)
    same(found, want, TYPES[dtype])
    assert ("delay" in want) == (kind != "integer")
    assert shape == "one step" or 0.02 < float(want["y"].mean()) < 0.9


@pytest.mark.parametrize("neuron", NEURONS)
def test_other_neurons(neuron: str) -> None:
    made = case("interpolation", "several groups and tiles", torch.float64, False)
    same(outcome(native, made, neuron), outcome(F.delayed_recurrent, made, neuron), torch.float64)


@pytest.mark.parametrize("cuts", [(1,), (7, 30), tuple(range(1, 60))], ids=["1", "3", "60"])
@pytest.mark.parametrize("kind", ["integer", "interpolation"])
def test_chunks_are_the_whole_with_their_gradients(kind: str, cuts: tuple[int, ...]) -> None:
    made = case(kind, "longer than the window", torch.float64, sparse=False)
    same(outcome(native, made, cuts=cuts), outcome(native, made), torch.float64)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_results_do_not_depend_on_threads(sparse: bool) -> None:
    for kind, shape in itertools.product(("interpolation", "wide"), ("several groups and tiles",)):
        made = case(kind, shape, torch.float32, sparse)
        with threads(1):
            one = outcome(native, made)
        with threads(3):
            three = outcome(native, made)
        for name in one:
            assert torch.equal(one[name], three[name]), name


def test_from_rest_and_in_a_layer() -> None:
    torch.manual_seed(0)
    back = sg.DelayedLinear(20, 20, most=6.0, learn="interpolation")
    layer = sg.Recurrent(sg.LIF(beta=0.5), connection=back).double()
    x = torch.rand(30, 3, 20, dtype=torch.float64) * 2
    y, state = layer(x)
    found = torch.autograd.grad(y.sum() + state.current.sum(), list(layer.parameters()))
    sg.nn.use_backend(layer, "reference")
    z, other = layer(x)
    want = torch.autograd.grad(z.sum() + other.current.sum(), list(layer.parameters()))
    assert torch.equal(y, z)
    for a, b in zip((state.current, *found), (other.current, *want), strict=True):
        torch.testing.assert_close(a, b)


def test_one_native_call_for_all_steps(monkeypatch) -> None:
    calls: list[int] = []
    run = cpu.delayed_recurrent
    monkeypatch.setattr(
        cpu, "delayed_recurrent", lambda x, *a, **k: calls.append(len(x)) or run(x, *a, **k)
    )
    back = sg.DelayedLinear(8, 8, most=4.0)
    network = sg.Sequential(sg.Linear(3, 8), sg.Recurrent(sg.LIF(20.0), connection=back))
    network(torch.rand(25, 2, 3))
    assert calls == [25]
    lengths = torch.tensor([25, 10])
    network(torch.rand(25, 2, 3), lengths=lengths)
    assert calls == [25, 10, 15]  # up to the next end of a sample
    with sg.record(network, membrane=True):
        network(torch.rand(25, 2, 3))
    assert len(calls) == 3  # the reference records membranes


def test_what_the_kernel_does_not_have_runs_step_by_step() -> None:
    from spikegrad.neurons import SynapticLIF

    back = sg.DelayedLinear(4, 8, most=3.0)
    layer = sg.Recurrent(SynapticLIF(), connection=back)
    y, _ = layer(torch.rand(6, 2, 2, 4) * 20)
    assert y.shape == (6, 2, 4)
    soft = sg.Recurrent(
        sg.LIF(20.0, surrogate=arctan(2.0).soft()), connection=sg.DelayedLinear(4, 4, most=3.0)
    )
    assert soft(torch.rand(6, 2, 4))[0].dtype == torch.float32


def test_wrong_calls_are_refused() -> None:
    made = case("interpolation", "some", torch.float64, False)
    taps = taps_of("interpolation", made["leaves"]["weight"], made["leaves"]["delay"], made["most"])
    neuron, x = partial(F.lif, beta=0.5), made["leaves"]["x"]
    far = taps._replace(first=taps.first + 9)
    with pytest.raises(sg.errors.UserError, match="expected taps within"):
        native(x, None, taps=far, neuron=neuron)
    with pytest.raises(sg.errors.UserError, match="expected x"):
        native(x[..., :3], None, taps=taps, neuron=neuron)
    with pytest.raises(TypeError, match="expected a DelayedFeedbackState"):
        native(x, torch.zeros(3), taps=taps, neuron=neuron)


def test_inference_mode_leaves_nothing_behind() -> None:
    layer = sg.Recurrent(sg.LIF(10.0), connection=sg.DelayedLinear(7, 7, most=5.0))
    with torch.inference_mode():
        layer(torch.rand(6, 2, 7))
    layer(torch.rand(6, 2, 7))[0].sum().backward()
    assert layer.connection.weight.grad is not None


def test_the_state_may_change_before_the_backward_pass() -> None:
    layer = sg.Recurrent(sg.LIF(10.0), connection=sg.DelayedLinear(7, 7, most=5.0))
    x = torch.rand(6, 2, 7)
    state = sg.cut(layer(x)[1])
    y, _ = layer(x, state)
    state.current.zero_()
    y.sum().backward()


def test_neurons_with_several_inputs_run_by_name_too() -> None:
    from spikegrad.neurons import SynapticLIF

    x, found = torch.rand(6, 2, 2, 4) * 20, []
    for backend in ("auto", "cpu", "reference"):
        torch.manual_seed(0)
        back = sg.DelayedLinear(4, 8, most=3.0, backend=backend)
        found.append(sg.Recurrent(SynapticLIF(backend=backend), connection=back)(x)[0])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
