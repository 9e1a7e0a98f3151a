"""A graph with parameters that are 0 or 1 gives the same numbers with fewer operations."""

from __future__ import annotations

import pytest
import torch

from spikegrad import kernels
from spikegrad.functional.lif import LIF
from spikegrad.kernels import cpu
from spikegrad.kernels.forms import form_of, known_of, traced
from spikegrad.step.graph import Graph
from spikegrad.step.simplify import simplified


def test_what_changes_nothing_goes_and_nothing_else() -> None:
    graph = Graph()
    x = graph.add("input", name="x")
    zero, one = (graph.add("input", name=f"parameter {n}") for n in ("zero", "one"))
    kept = {
        "0 - x": graph.add("sub", zero, x),
        "1 / x": graph.add("div", one, x),
        "x * 0": graph.add("mul", x, zero),
        "x + 1": graph.add("add", x, one),
    }
    gone = {
        "x + 0": graph.add("add", x, zero),
        "0 + x": graph.add("add", zero, x),
        "x - 0": graph.add("sub", x, zero),
        "1 * x": graph.add("mul", one, x),
        "x * 1": graph.add("mul", x, one),
        "x / 1": graph.add("div", x, one),
    }
    graph.outputs = {**kept, **gone}
    made = simplified(graph, {"parameter zero": 0.0, "parameter one": 1.0})
    assert {made.outputs[name] for name in gone} == {made.inputs()["x"]}
    assert {made.nodes[made.outputs[name]].op for name in kept} == {"sub", "div", "mul", "add"}


def test_a_usual_lif_has_fewer_operations() -> None:
    record, known = LIF.surrogate, known_of(LIF, {**LIF.defaults(), "dt": 1.0})
    assert dict(known)["v_rest"] == 0.0
    assert "beta" not in dict(known)
    full, _ = traced(LIF, form_of(LIF, record, "subtract", True, False, ()))
    few, _ = traced(LIF, form_of(LIF, record, "subtract", True, False, (), known))
    count = [sum(n.op not in ("input", "constant") for n in t.graph.nodes) for t in (full, few)]
    assert count[1] <= count[0] - 5


def test_a_learned_parameter_is_not_known() -> None:
    rows = {**LIF.defaults(), "dt": 1.0, "gain": torch.tensor(1.0, requires_grad=True)}
    assert "gain" not in dict(known_of(LIF, rows))
    assert "gain" in dict(known_of(LIF, {**rows, "gain": torch.tensor(1.0)}))
    assert "gain" not in dict(known_of(LIF, {**rows, "gain": torch.ones(3)}))


@pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")
def test_infinite_and_negative_values_stay_what_they_are() -> None:
    x = torch.tensor([-1.0, 0.0, -0.0, float("inf"), float("nan"), 2.0]).reshape(1, 1, 6)
    for backend in ("reference", "cpu"):
        s, state = kernels.lif(x, backend=backend, beta=1.0, reset="none")
        assert s.flatten().tolist() == [0.0, 0.0, 0.0, 1.0, 0.0, 1.0]
        assert state.v.isnan().flatten().tolist() == [False] * 4 + [True, False]
        assert state.v.flatten()[3] == float("inf")
