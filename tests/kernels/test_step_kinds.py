"""Generated scans with several inputs, two outputs and escape noise, against the loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from kinds import FORMS, KINDS, outputs, results
from native import needs_kernels

import spikegrad as sg
from spikegrad import kernels
from spikegrad.kernels.cpu.backend import obstacle_to_neuron
from spikegrad.nn.base import use_backend
from spikegrad.step.lower import NotLowered
from spikegrad.surrogate import Surrogate, arctan, names
from spikegrad.surrogate import get as surrogate_of

pytestmark = needs_kernels


@pytest.mark.parametrize("how", FORMS, ids=["attached", "lean"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_the_loop_to_the_last_bit(kind: str, how: dict[str, Any]) -> None:
    """In float64; the surrogates here and their primitives are of + - * / alone."""
    want, gradients = results(KINDS[kind], "reference", torch.float64, **how)
    got, ours = results(KINDS[kind], "cpu", torch.float64, **how)
    assert 0.02 < want[0].mean() < 0.7
    assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True))
    assert torch.equal(gradients[0], ours[0])
    for theirs, mine in zip(gradients, ours, strict=True):
        if theirs is None or mine is None:
            assert not any(g is not None and g.any() for g in (theirs, mine))
            continue
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["both", "inputs, escape, both"])
def test_float32_and_a_loss_that_reads_the_membrane_alone(kind: str) -> None:
    want, gradients = results(KINDS[kind], "reference", torch.float32, used=1, **FORMS[0])
    got, ours = results(KINDS[kind], "cpu", torch.float32, used=1, **FORMS[0])
    assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True))
    assert torch.equal(gradients[0], ours[0])
    for theirs, mine in zip(gradients, ours, strict=True):
        if theirs is not None and mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_noise_is_drawn_as_the_loop_draws_it() -> None:
    """Also of images in another layout, from torch's own generator, and as it is given."""
    step, x = KINDS["escape"], torch.rand(6, 2, 3, 4, 4) * 2
    last = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    torch.manual_seed(1)
    want, after = step(x)[0], torch.rand(1)
    for given in (x, last):
        torch.manual_seed(1)
        assert torch.equal(kernels.step(step, given, backend="cpu")[0], want)
        assert torch.equal(torch.rand(1), after)
    noise = torch.rand(x.shape)
    assert torch.equal(
        kernels.step(step, x, backend="cpu", noise=noise)[0], step(x, noise=noise)[0]
    )
    with pytest.raises(sg.UserError, match="noise of shape"):
        kernels.step(step, x, backend="cpu", noise=noise[0])
    with pytest.raises(sg.UserError, match="omit one"):
        kernels.step(step, x, backend="cpu", noise=noise, generator=torch.Generator())


def test_a_program_that_cannot_be_compiled_leaves_the_noise_to_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> Any:
        raise NotLowered("for this test")

    x, step = torch.rand(6, 2, 3) * 2, KINDS["escape"]
    torch.manual_seed(1)
    want = step(x)[0]
    monkeypatch.setattr("spikegrad.kernels.cpu.neuron.prepared", refuse)
    torch.manual_seed(1)
    with pytest.warns(sg.SpikegradWarning, match="for this test"):
        got, _ = kernels.step(step, x)
    assert torch.equal(got, want)


@pytest.mark.parametrize("name", names(aliases=False))
@pytest.mark.filterwarnings("ignore::spikegrad.errors.SpikegradWarning")
def test_every_primitive_has_a_native_form(name: str) -> None:
    """One that is no probability is refused."""
    record, x = surrogate_of(name), torch.rand(4, 2, 3)
    choice = kernels.choose_step(KINDS["escape"], "auto", x, {"surrogate": record})
    assert choice.backend == ("cpu" if record.has_primitive else "reference")
    if not record.has_primitive or abs(record.area - 1.0) > 1e-9:
        with pytest.raises(sg.UserError, match="area 1"):
            kernels.step(KINDS["escape"], x, surrogate=record)


@pytest.mark.filterwarnings("ignore::spikegrad.errors.SpikegradWarning")
def test_a_probability_with_a_factor_stays_in_torch() -> None:
    record = Surrogate("triangle", 1.0, normalisation="peak")
    x, step = torch.rand(9, 2, 3), KINDS["escape"]
    choice = kernels.choose_step(step, "auto", x, {"surrogate": record})
    assert (choice.backend, "normalisation" in choice.reason) == ("reference", True)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "inputs"])
def test_inside_a_layer_they_run_after_it(kind: str) -> None:
    assert obstacle_to_neuron(KINDS[kind], None).startswith("only the scan re")


def test_a_sequence_with_each_of_them() -> None:
    """Values and gradients of the loop; without several inputs the Linear alone, then the scan."""
    for last in (sg.LIF(5.0, output="both"), sg.LIF(5.0, spike="escape"), sg.SynapticLIF()):
        torch.manual_seed(0)
        layers: list[Any] = [sg.Linear(4, 6), last]
        if isinstance(last, sg.SynapticLIF):  # the first half of the currents excites
            layers.insert(1, torch.nn.Unflatten(1, (2, 3)))
        network, x = sg.Sequential(*layers), torch.rand(12, 2, 4)
        found = []
        for backend in ("auto", "reference"):
            use_backend(network, backend)
            network.zero_grad()
            torch.manual_seed(5)
            y, _ = network(x)
            sum(part.sum() for part in outputs(y)).backward()
            found.append([*outputs(y), network[0].weight.grad.clone()])
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["both", "inputs, escape, both"])
def test_the_operators_pass_torchs_own_check(kind: str) -> None:
    step, calls = KINDS[kind], []
    from spikegrad.kernels.cpu import step as module

    def seen(*inputs: Any) -> Any:
        calls.append(inputs)
        return torch.ops.spikegrad.step_scan(*inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module.__globals__, "run", seen)
        several = (len(step.inputs),) if step.inputs else ()
        kernels.step(
            step, torch.rand(5, 2, *several, 3).requires_grad_(), backend="cpu",
            surrogate=arctan(2.0), threshold=torch.tensor(1.0).requires_grad_(),
        )  # fmt: skip
    program, x, noise, *rest = calls[0]
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(
        torch.ops.spikegrad.step_scan,
        (program, x.detach().requires_grad_(), noise, *rest),
        test_utils=tests,
    )


def test_check_follows() -> None:
    for layer in (sg.SynapticLIF(), sg.LIF(20.0, spike="escape")):
        found = sg.check(layer)
        assert found.ok
        assert found.rate is not None
        assert found.rate > 0
        assert any(row.backend == "cpu" and row.verdict != "not run" for row in found.rows)


def test_a_recording_and_an_explanation_of_several_inputs() -> None:
    layer = sg.SynapticLIF(learn="tau_gaba")
    network, x = sg.Sequential(layer, sg.Linear(3, 2)), torch.rand(9, 2, 2, 3)
    with sg.record(network) as tapes:
        network(x)
    assert tapes["0"].current.shape == x.shape
    assert tapes["0"].membrane.shape == (9, 2, 3)
    assert layer.explain().backend == "cpu"
    assert next(each.backend for each in sg.diagnose.explain(network, x)) == "cpu"
