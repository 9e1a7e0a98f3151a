"""Generated Triton kernels of whole layers and of feedback, in Triton's interpreter.

`test_triton.py` runs this file in a process of its own, with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import pytest
import torch
from small_networks import network_of, run_network
from steps import ALIF, CURRENTS, LIF, ROWS, compare, values_of
from torch import Tensor

import spikegrad as sg
from spikegrad import functional, kernels, neurons
from spikegrad.kernels import triton
from spikegrad.kernels.triton import feedback as fed
from spikegrad.kernels.triton import feedback_launch, launch, programs, run, trial, verdict
from spikegrad.kernels.triton.feedback_launch import Shape, shape_of
from spikegrad.step import Step
from spikegrad.surrogate import arctan

assert os.environ["TRITON_INTERPRET"] == "1"
ONE_INPUT = sorted(n for n, model in neurons.models().items() if not model.step.inputs)


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weight is read from memory, 16 rows at a time, as that of many neurons."""

    def shape(features: int, bytes_each: int, *, again: bool) -> Shape:
        return shape_of(features, bytes_each, again=again)._replace(held=False, part=16)

    monkeypatch.setattr(feedback_launch, "shape_of", shape)


def loop(definition: Step, x: Tensor, state: Any, **args: Any) -> Any:
    """Bias and feedback as the specification has them."""
    weight, bias = args.pop("weight", None), args.pop("bias", None)
    x = x if bias is None else x + bias
    if weight is None:
        return definition(x, state, **args)
    return functional.recurrent(x, state, weight=weight, neuron=partial(definition, **args))


def check(
    definition: Step,
    row: Any,
    *,
    feedback: bool,
    columns: int = 7,
    batch: int = 3,
    steps: int = 22,
) -> float:
    """A kernel with a bias, with feedback or without, against the loop; returns the rate."""
    surrogate, reset, refractory, detach, each, learn, lean, double = row
    torch.manual_seed(1)
    dtype = torch.float64 if double else torch.float32
    values = values_of(definition, dtype, each=each, learn=learn, columns=columns)
    values["bias"] = (torch.rand(columns, dtype=dtype) * 0.2 - 0.1).requires_grad_()
    if feedback:
        weight = torch.randn(columns, columns, dtype=dtype) / columns**0.5
        values["weight"] = weight.requires_grad_()
    kernel = fed.recurrent if feedback else triton.step
    return compare(
        partial(loop, definition),
        partial(kernel, definition),
        torch.rand(steps, batch, columns, dtype=dtype),
        values,
        exact=not feedback,  # a product adds up in another order
        surrogate=surrogate,
        reset=reset,
        refractory=refractory,
        detach_reset=detach,
        lean=lean,
    )


@pytest.mark.parametrize("row", [0, 1])
def test_a_bias_in_the_scan(row: int) -> None:
    assert check((ALIF, LIF)[row % 2], ROWS[row], feedback=False) > 0.02


@pytest.mark.parametrize(
    ("definition", "bias", "row"),
    [(LIF, False, ROWS[3]), (LIF, True, ROWS[5]), (ALIF, True, ROWS[2])],
)
def test_a_scale_and_a_shift_in_the_scan(definition: Step, bias: bool, row: Any) -> None:
    """Of channels of several neurons, after a bias; LIF's own backward pass reads no input."""
    surrogate, reset, refractory, detach, _, learn, lean, double = row
    torch.manual_seed(1)
    dtype = torch.float64 if double else torch.float32
    values = values_of(definition, dtype, each=False, learn=learn)
    values["norm_scale"] = (torch.rand(5, dtype=dtype) + 0.5).requires_grad_()
    values["norm_shift"] = (torch.rand(5, dtype=dtype) * 0.2 - 0.1).requires_grad_()
    if bias:
        values["bias"] = (torch.rand(5, dtype=dtype) * 0.2 - 0.1).requires_grad_()
    rate = compare(
        partial(trial.reference, definition),
        partial(triton.step, definition),
        torch.rand(22, 3, 5, 2, 2, dtype=dtype),
        values,
        exact=True,
        surrogate=surrogate,
        reset=reset,
        refractory=refractory,
        detach_reset=detach,
        lean=lean,
    )
    assert rate > 0.02


@pytest.mark.parametrize("row", range(6))
def test_feedback_equals_the_loop(row: int) -> None:
    assert check((ALIF, LIF)[row % 2], ROWS[row], feedback=True) > 0.02


@pytest.mark.parametrize("row", [0, 1], ids=["kept", "computed again"])
def test_feedback_with_the_weight_in_parts(row: int, in_parts: None) -> None:
    """More samples than a program instance has, and more neurons than a part."""
    definition = (ALIF, LIF)[row % 2]
    assert check(definition, ROWS[row], feedback=True, columns=20, batch=17, steps=20) > 0.02


def test_many_neurons_have_one_kernel_a_step() -> None:
    many = feedback_launch.MOST + 4
    assert check(LIF, ROWS[2], feedback=True, columns=many, batch=1, steps=8) > 0.02


@pytest.mark.parametrize(
    ("name", "learn"),
    [*((name, True) for name in ONE_INPUT), ("BalancedResonateAndFire", False), ("GLIF", False)],
)
def test_every_model_fed_back(name: str, learn: bool) -> None:
    """Once a state that the step before gives as it is was not loaded for it."""
    definition = neurons.models()[name].step
    torch.manual_seed(1)
    current = CURRENTS.get(name, 2.0)
    values = values_of(definition, torch.float64, each=learn, learn=learn)
    values["weight"] = (torch.randn(7, 7, dtype=torch.float64) * 0.1 * current).requires_grad_()
    args = {"refractory": 2, "detach_reset": False} if learn else {}
    rate = compare(
        partial(loop, definition),
        partial(fed.recurrent, definition),
        torch.rand(16, 3, 7, dtype=torch.float64) * 2.2 * current - 0.2 * current,
        values,
        exact=False,
        **args,
    )
    assert rate > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("feedback", [False, True])
def test_half_types_agree_in_a_trial(dtype: torch.dtype, feedback: bool) -> None:
    """States and sums are float32; the comparison's tolerance is the dtype's."""
    torch.manual_seed(1)
    args: dict[str, Any] = {"bias": (torch.rand(7) * 0.2).to(dtype).requires_grad_()}
    if feedback:
        args["weight"] = (torch.randn(7, 7) / 7**0.5).to(dtype).requires_grad_()
    way = fed.FED if feedback else trial.SCAN
    assert trial.compared(way, ALIF, torch.rand(30, 4, 7).to(dtype), args) == ""


def test_a_network_as_on_a_gpu(as_on_a_gpu: None) -> None:
    network, x = network_of(), torch.rand(12, 3, 6) * 3.0
    got = run_network(network, x)
    layers = [verdict.neuron for verdict in verdict.verdicts()]
    assert sorted(layers) == ["ResonateAndFire", "li", "lif, recurrent", "the product"]
    sg.nn.use_backend(network, "reference")
    for want, ours in zip(run_network(network, x), got, strict=True):
        assert torch.allclose(want, ours, rtol=1e-4, atol=1e-5)


def test_one_step_at_a_time_is_one_kernel_a_layer(
    as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of a stream give the bits of the whole run; only the first plans and compares."""
    network, x = network_of(), torch.rand(6, 3, 6) * 3.0
    launched: list[str] = []
    for place in (launch, feedback_launch):
        original = place.start

        def start(program: Any, kernel: str, *args: Any, original: Any = original, **named: Any):
            launched.append(kernel)
            original(program, kernel, *args, **named)

        monkeypatch.setattr(place, "start", start)
    with torch.no_grad():
        whole, ends = network(x)
        parts, states = [], None
        for t in range(6):
            if t == 1:  # everything is known by now
                for name in ("triton", "triton_feedback", "traced"):
                    monkeypatch.setattr(programs, name, None)
                monkeypatch.setattr(trial, "compared", None)
            launched.clear()
            y, states = network(x[t : t + 1], states)
            parts.append(y)
            assert t == 0 or launched == ["forward"] * 3
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(states[-1].v, ends[-1].v)


def test_layers_pass_the_product_without_its_bias(
    as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    original = run.step

    def step(definition: Step, x: Tensor, *args: Any, **named: Any) -> Any:
        seen.append((x, named["bias"]))
        return original(definition, x, *args, **named)

    monkeypatch.setattr(run, "step", step)
    network, x = sg.Sequential(sg.Linear(6, 8), sg.LIF(10.0)), torch.rand(5, 2, 6)
    network(x)
    network(x[:1].expand(5, 2, 6))  # constant in time: one product
    (current, bias), (once, _) = seen
    assert torch.equal(current, x @ network[0].weight.T)
    assert bias is network[0].bias
    assert once.stride(0) == 0


def test_explain_names_the_layers(as_on_a_gpu: None) -> None:
    rows = sg.diagnose.explain(network_of(), torch.rand(12, 3, 6))
    assert [(row.layers, row.backend) for row in rows] == [
        (("0", "1"), "triton"),
        (("2", "3"), "triton"),
        (("4", "5"), "triton"),
    ]
    assert rows[0].reason == triton.REASON


def test_feedback_by_name_and_what_it_refuses() -> None:
    x = torch.rand(12, 3, 7)
    layer = sg.nn.Recurrent(sg.LIF(10.0, backend="triton"), 7)
    choice = kernels.choose("recurrent", "triton", x, {"neuron": layer.neuron.bound()})
    assert choice.backend == "triton"
    _, state = layer(x)
    again, _ = layer(x[:1], state)  # one step by name
    assert again.shape == (1, 3, 7)
    for neuron, says in (
        (partial(functional.lif, beta=0.9, surrogate=arctan(2.0).soft()), "soft mode"),
        (partial(kernels.li, beta=0.9), "returns others"),
        (lambda x, state: (x, state), "no step"),
    ):
        args = {**getattr(neuron, "keywords", {}), "neuron": neuron}
        with pytest.raises(sg.UserError, match=says):
            kernels.choose("recurrent", "triton", x, args)
    assert kernels.choose("recurrent", "triton", x, {"trace": True}).backend == "reference"


def test_feedback_that_differs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(definition: Step, x: Tensor, given: Any) -> Any:
        y, end = fed.finished(definition, x, given)
        return y * 0.5, end

    monkeypatch.setattr(fed, "FED", fed.FED._replace(finished=wrong))
    torch.manual_seed(1)
    x, weight = torch.rand(12, 3, 7), torch.randn(7, 7)
    with pytest.warns(sg.SpikegradWarning, match="lif runs in torch.*the output differs"):
        y, _ = fed.recurrent(LIF, x, weight=weight, checked=True)
    assert torch.equal(y, functional.recurrent(x, weight=weight, neuron=LIF)[0])
    assert "the output differs" in fed.obstacle(LIF, True)
    assert fed.obstacle(LIF, False) == ""
