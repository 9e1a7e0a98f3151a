"""`explain()` of a neuron written as a step: what is kept, and what each backend made of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from native import needs_kernels
from torch import Tensor

import spikegrad as sg
from spikegrad import diagnose
from spikegrad.surrogate import boxcar, straight_through


@sg.neuron(
    states={"v": "v_rest"},
    parameters={
        "tau_mem": sg.TimeConstant(20.0, decay="beta"), "threshold": 1.0, "v_rest": 0.0,
    },
)  # fmt: skip
def Leaky(x: Tensor, s: Any, p: Any) -> Any:
    """LIF."""
    u = p.v_rest + p.beta * (s.v - p.v_rest) + x
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired)}


@sg.neuron(states={"v": 0.0}, parameters={"threshold": 1.0})
def Coupled(x: Tensor, s: Any, p: Any) -> Any:
    """Neurons that read one another, which no kernel can run."""
    u = 0.9 * s.v + x - 0.1 * x.mean()
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired)}


def test_what_is_kept_of_a_class() -> None:
    found = Leaky.explain()
    assert found.states == ("v",)
    assert found.parameters == ("beta", "threshold", "v_rest")
    assert found.learned == ()
    assert found.native is not None
    assert found.native.kept == ("the membrane before the reset",)
    assert found.native.bytes_kept == 4.0
    assert not found.native.reads_input
    text = str(found)
    assert "kept for the backward pass: 4 bytes per neuron-step in float32\n" in text
    assert "states every 16 steps, 0.25 bytes per neuron-step" in text


def test_what_is_kept_follows_the_surrogate() -> None:
    few = Leaky(surrogate=straight_through()).explain()
    assert few.native is not None
    assert few.native.kept == ()
    assert few.native.bytes_kept == 0.0
    bits = Leaky(surrogate=boxcar()).explain()
    assert bits.native is not None
    assert bits.native.bytes_kept == pytest.approx(len(bits.native.kept) / 8)
    assert all(what.endswith("(1 bit)") for what in bits.native.kept)


def test_of_a_layer_that_learns() -> None:
    layer = Leaky(learn=("tau_mem", "slope"), size=3, refractory=2.0)
    found = layer.explain()
    assert set(found.learned) == {"tau_mem", "slope"}
    assert "parameters: beta, threshold, v_rest; learned: " in str(found)
    assert found.native is not None
    assert any("refractory" in what or "1 bit" in what for what in found.native.kept)
    assert all(p.grad is None for p in layer.parameters())


def test_more_than_eight_bytes_are_computed_again() -> None:
    found = sg.BalancedResonateAndFire.explain()
    assert found.native is not None
    assert found.native.bytes_kept > 8
    assert found.native.recomputed
    assert "kept for the backward pass: the states every 16 steps, 0.75 bytes" in str(found)


@needs_kernels
def test_what_the_backends_made(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEGRAD_CACHE", str(tmp_path))
    before = Leaky.explain()
    assert before.backend == "cpu"
    assert before.made["cpu"].endswith("compiled at the first call")
    assert set(before.made) == set(sg.kernels.available())
    assert "\nreference: the step in a loop over time, in torch" in str(before)
    assert not list(tmp_path.rglob("*.so"))


def test_a_step_without_a_native_form() -> None:
    found = Coupled.explain()
    assert (found.native, found.backend) == (None, "reference")
    assert "cpu: none: its step has no native form: mean mixes neurons" in str(found)


@needs_kernels
def test_layers_in_a_network() -> None:
    network = sg.Sequential(
        sg.Linear(4, 5), Leaky(), sg.Linear(5, 5), sg.nn.Recurrent(Leaky(), 5),
        sg.Linear(5, 5), Coupled(), Leaky(backend="reference"),
    )  # fmt: skip
    sg.kernels.dispatch.warn_once.cache_clear()
    with pytest.warns(sg.SpikegradWarning, match="Coupled runs in torch"):
        rows = diagnose.explain(network, torch.rand(6, 2, 4))
    found = {each.layers: each for each in rows}
    assert found[("0", "1")].backend == "cpu"
    assert "with its neurons in one call" in found[("0", "1")].reason
    assert found[("5",)].backend == "reference"
    assert "mean mixes neurons" in found[("5",)].reason
    assert found[("5",)].advice == "see print(Coupled.explain())"
    assert found[("6",)].reason == "chosen by name"
    assert found[("2", "3")].backend == "cpu"  # with its feedback
