"""`sg.check` compares backends with the loop, and says so where one is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from native import needs_kernels
from torch import Tensor

import spikegrad as sg
from spikegrad.diagnose import compare
from spikegrad.kernels.emit.scan import ScanWriter


def leaky(operation: Any = lambda u: u, states: Any = None) -> type[sg.nn.StepNeuron]:
    """A new class of neurons; operation: on the membrane."""

    @sg.neuron(
        states=states or {"v": 0.0},
        parameters={"tau_mem": sg.TimeConstant(20.0, decay="beta"), "threshold": 1.0},
    )
    def Leaky(x: Tensor, s: Any, p: Any) -> Any:
        u = operation(p.beta * s.v + x)
        fired = p.spike(u, p.threshold)
        return fired, {"v": p.reset(u, fired)}

    return Leaky


@pytest.fixture
def one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two programs instead of eight: each takes the compiler most of a second."""
    as_it_is = compare.Form("learned", "per layer", False, (("refractory", 2),))
    monkeypatch.setattr(compare, "forms", lambda layer, values: [as_it_is])


@needs_kernels
def test_a_neuron_in_all_forms() -> None:
    layer = leaky()(size=3, learn="tau_mem", refractory=2.0)
    before = [p.clone() for p in layer.parameters()]
    random = torch.get_rng_state()
    found = sg.check(layer)
    assert found.ok
    assert found.rate is not None
    assert 0.01 < found.rate < 0.5
    assert {row.verdict for row in found.rows if row.backend == "cpu"} <= {"equal", "close"}
    assert {row.dtype for row in found.rows} == {"float32", "float64"}
    assert all(row.output == 0.0 for row in found.rows if row.backend == "cpu")
    assert all(torch.equal(a, b) for a, b in zip(before, layer.parameters(), strict=True))
    assert torch.equal(random, torch.get_rng_state())
    text = str(found)
    assert text.startswith("Leaky: differences from the loop in torch; current up to ")
    assert "reset to zero, refractory, learned per layer  float32" in text
    assert text.endswith("every backend agrees with the loop in 8 comparisons")


@needs_kernels
@pytest.mark.parametrize(
    "layer",
    [
        sg.IF,
        sg.LIF(torch.tensor([10.0, 20.0]), learn="slope"),
        sg.ALIF(20.0, tau_adapt=50.0),
        sg.CUBALIF(20.0, tau_syn=5.0),
        sg.LI(9.0),
    ],
    ids=["IF", "LIF", "ALIF", "CUBALIF", "LI"],
)
def test_built_in_layers(layer: Any) -> None:
    found = sg.check(layer)
    assert found.ok
    assert {row.verdict for row in found.rows if row.backend == "cpu"} <= {"equal", "close"}


def doubled(writer: ScanWriter, *where: Any) -> list[str]:
    """A gradient of the input that is twice as large."""
    return [
        line.replace("store_part(dx + j, ", "store_part(dx + j, all_of(T(2)) * ")
        for line in ORIGINAL(writer, *where)
    ]


def forgotten(writer: ScanWriter, *where: Any) -> list[str]:
    """No gradient of the first parameter."""
    return [line for line in ORIGINAL(writer, *where) if "sums[0]" not in line]


ORIGINAL = ScanWriter.gradients


@needs_kernels
@pytest.mark.usefixtures("one_form")
@pytest.mark.parametrize("wrong", [doubled, forgotten])
def test_a_wrong_gradient_is_found(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScanWriter, "gradients", wrong)
    found = sg.check(leaky())
    assert not found.ok
    rows = [row for row in found.rows if row.backend == "cpu"]
    assert {row.verdict for row in rows} == {"different"}
    assert all(row.output == 0.0 and (row.gradients or 0) >= 0.5 for row in rows)
    assert "WRONG: 2 of 2 comparisons differ: cpu (learned, float32)" in str(found)


@needs_kernels
@pytest.mark.usefixtures("one_form")
def test_a_wrong_value_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = ScanWriter.forward

    def shifted(self: ScanWriter) -> str:
        return forward(self).replace("load_part(x + j", "all_of(T(1e-3)) + load_part(x + j")

    monkeypatch.setattr(ScanWriter, "forward", shifted)
    found = sg.check(leaky())
    assert {row.verdict for row in found.rows if row.backend == "cpu"} == {"different"}
    assert all(row.states for row in found.rows if row.backend == "cpu")


@pytest.mark.usefixtures("one_form")
def test_what_was_not_compared_is_said() -> None:
    found = sg.check(leaky(lambda u: u - u.mean()))
    assert found.ok
    assert {row.verdict for row in found.rows} == {"not run"}
    assert "mean mixes neurons" in str(found)
    assert "nothing was compared" in found.line()


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        (lambda u: u.clamp(max=0.5) + 0.0 * u.mean(), "no neuron fired"),
        (lambda u: u / u + 0.0 * u.mean(), "result is not finite (a division by zero at rest"),
    ],
    ids=["silent", "not finite"],
)
def test_notes(operation: Any, says: str) -> None:
    """Without a native form, so that nothing is compiled."""

    def at_rest(u: Tensor) -> Tensor:
        return operation(u - u)

    assert says in str(sg.check(leaky(at_rest)))


def test_what_is_no_neuron() -> None:
    with pytest.raises(TypeError, match=r"the class LIF; give it its arguments"):
        sg.check(sg.LIF)
    with pytest.raises(TypeError, match=r"a neuron: a layer, or a class made by sg.neuron"):
        sg.check(sg.Linear(3, 2))  # type: ignore[arg-type]
