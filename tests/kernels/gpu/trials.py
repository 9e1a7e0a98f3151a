"""The comparison of a Triton kernel with the reference before its first use, and what is said.

`test_triton.py` runs this file in a process of its own, with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from kinds import KINDS
from steps import ALIF, CURRENTS, LIF
from torch import Tensor

import spikegrad as sg
from spikegrad import kernels, neurons
from spikegrad.kernels.triton import product as products
from spikegrad.kernels.triton import run, step, trial, verdict
from spikegrad.kernels.triton.spikes import Spikes
from spikegrad.kernels.triton.step import finished
from spikegrad.step import Step
from spikegrad.surrogate import arctan

assert os.environ["TRITON_INTERPRET"] == "1"


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
        verdict.KNOWN.clear()  # as in another process
    assert [v.differs for v in verdict.verdicts()] == [""]
    assert verdict.verdicts()[0].neuron == "alif"
    assert not [w for w in recwarn if w.category is sg.SpikegradWarning]


def test_a_kernel_that_differs_is_replaced_by_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(*args: Any) -> Any:
        y, end = finished(*args)
        return y * 0.5, end

    original = trial.SCAN
    monkeypatch.setattr(run, "SCAN", original._replace(finished=wrong))
    x = torch.rand(10, 2, 3)
    says = r"lif runs in torch.*the output differs at \d+ of \d+ places.*0.5 instead of 1"
    with pytest.warns(sg.SpikegradWarning, match=says):
        y, end = step(LIF, x, checked=True)
    want, state = LIF(x)
    assert torch.equal(y, want)
    assert torch.equal(end.v, state.v)
    assert "the output differs" in verdict.verdicts()[0].differs
    monkeypatch.setattr(run, "SCAN", original)
    monkeypatch.setattr(trial, "compared", None)
    verdict.KNOWN.clear()  # another process reads the verdict, and warns again
    verdict.FAILED.clear()
    with pytest.warns(sg.SpikegradWarning, match="the output differs"):
        step(LIF, x, checked=True)


def test_a_kernel_that_fails_is_replaced_by_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> Any:
        raise RuntimeError("no space left on the device")

    monkeypatch.setattr(run, "SCAN", trial.SCAN._replace(finished=fails))
    x = torch.rand(10, 2, 3)
    with pytest.warns(sg.SpikegradWarning, match="RuntimeError: no space left"):
        y, _ = step(LIF, x, checked=True)
    assert torch.equal(y, LIF(x)[0])
    assert verdict.verdicts() == []  # the next process tries again


@pytest.mark.parametrize("name", neurons.models())
def test_every_model_agrees_with_the_reference_in_its_trial(name: str) -> None:
    definition = neurons.models()[name].step
    torch.manual_seed(1)
    inputs = (len(definition.inputs),) if definition.inputs else ()
    x = torch.rand(10, 2, *inputs, 5) * 1.7 * CURRENTS.get(name, 2.0)
    assert trial.compared(trial.SCAN, definition, x, {"lean": True}) == ""


@pytest.mark.parametrize("kind", ["escape", "both"])
def test_noise_and_a_second_output_in_a_trial(kind: str) -> None:
    """The comparison draws the noise of both; the call's own stays as it was."""
    torch.manual_seed(1)
    x, given = torch.rand(10, 2, 5) * 2, torch.Generator().manual_seed(3)
    how = {"generator": given} if kind == "escape" else {}
    got = step(KINDS[kind], x, checked=True, **how)[0]
    want = KINDS[kind](x, **{name: g.manual_seed(3) for name, g in how.items()})[0]
    for ours, theirs in zip(*((y if kind == "both" else [y]) for y in (got, want)), strict=True):
        assert torch.equal(ours, theirs)
    assert [v.differs for v in verdict.verdicts()] == [""]


def test_packed_spikes_have_a_trial_of_their_own() -> None:
    x = torch.rand(12, 2, 5) * 2
    y, _ = step(LIF, x, checked=True, pack=True)
    step(LIF, x, checked=True)
    assert isinstance(y, Spikes)
    assert [v.neuron for v in verdict.verdicts()] == ["lif", "lif"]
    assert trial.compared(trial.SCAN, LIF, x, {"pack": True}) == ""


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)
def test_the_product_agrees_in_its_trial(dtype: torch.dtype) -> None:
    assert products.compared(dtype, torch.device("cpu")) == ""


def test_a_product_that_differs_is_replaced_by_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    original = products.run
    monkeypatch.setattr(products, "run", lambda *args: original(*args) * 1.01)
    spikes = torch.rand(9, 2, 5) < 0.4
    x, weight = Spikes(torch.zeros(9, 2, 5), products.packed(spikes)), torch.rand(3, 5)
    says = r"the product of spikes as bits runs in torch.*the product differs at"
    with pytest.warns(sg.SpikegradWarning, match=says):
        y = products.product(x, weight, checked=True)
    assert torch.equal(y, spikes.float() @ weight.T)
    assert not torch.equal(products.product(x, weight), y)  # by name there is no comparison
    assert "the product" in kernels.get("triton").about()


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
    found = sg.check(sg.ResonateAndFire, draw=0)
    assert len(found.rows) == 4
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
    verdict.put(
        verdict.folder() / "verdicts" / "other.json",
        '{"neuron": "alif", "device": "GPU 1", "torch": "2", "triton": "3", "differs": "the x"}',
    )
    assert about().endswith("; not used: alif on GPU 1 (the x)")
