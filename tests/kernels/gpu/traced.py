"""Triton's kernels under `torch.compile`, in Triton's interpreter.

`test_triton.py` runs this file in a process of its own, with TRITON_INTERPRET=1. That torch's cache
of compiled gradients tells their programs apart: `tests/nn/test_compile_cache.py`.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import pytest
import torch
from kinds import KINDS
from small_networks import network_of, run_network
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager

import spikegrad as sg
from spikegrad import kernels
from spikegrad.kernels.triton import programs, trial, verdict

assert os.environ["TRITON_INTERPRET"] == "1"


@pytest.fixture(autouse=True)
def _cold() -> None:
    torch._dynamo.reset()


def compiled(what: Any, backend: Any = "aot_eager") -> Any:
    return torch.compile(what, fullgraph=True, backend=backend)


def test_a_network_is_one_graph_with_the_operators_in_it(as_on_a_gpu: None) -> None:
    """Its outputs and gradients are the eager ones, and each kernel was compared with the reference
    first, with currents of its own: a tracer has none.
    """
    names: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        names.extend(str(node.target) for node in graph.graph.nodes)
        return aot_eager(graph, inputs)

    network, x = network_of(), torch.rand(12, 3, 6) * 3.0
    got = run_network(network, x, compiled(network, backend))
    ours = [name.split("spikegrad.")[1].split(".")[0] for name in names if "spikegrad." in name]
    assert sorted(ours) == [
        "triton_feedback", "triton_product", "triton_product", "triton_scan", "triton_scan"
    ]  # fmt: skip
    assert sorted((v.neuron, v.differs) for v in verdict.verdicts()) == [
        ("ResonateAndFire", ""),
        ("li", ""),
        ("lif, recurrent", ""),
        ("the product", ""),
    ]
    keys = set(verdict.KNOWN)
    want = run_network(network, x)  # finds the verdicts of the same kernels
    assert set(verdict.KNOWN) == keys
    assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True))


def test_other_lengths_and_no_gradient() -> None:
    layer = sg.LIF(10.0, learn="tau_mem", backend="triton")
    run_compiled = compiled(layer)
    for steps in (5, 9):
        x = torch.rand(steps, 2, 3) * 2
        want, got = run_network(layer, x), run_network(layer, x, run_compiled)
        assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True))
    with torch.no_grad():
        assert torch.equal(run_compiled(x)[0], want[0])


def test_several_inputs_two_outputs_and_noise() -> None:
    step, found = KINDS["inputs, escape, both"], []

    def call(x: Tensor, decay: Tensor) -> Any:
        return kernels.step(step, x, backend="triton", lean=True, **{next(iter(step.reads)): decay})

    for function in (call, compiled(call)):
        torch.manual_seed(3)
        x = (torch.rand(10, 2, 2, 5) * 2.0).requires_grad_()
        decay = torch.tensor(0.8, requires_grad=True)
        torch.manual_seed(4)  # of the noise
        (y, u), end = function(x, decay)
        sum((part * part).sum() for part in (y, u, *end[:-1])).backward()
        found.append([y, u, *end[:-1], x.grad, decay.grad])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert found[0][0].any()


def test_a_batch_norm_in_the_graph() -> None:
    torch.manual_seed(0)
    network = sg.Sequential(
        sg.Linear(6, 8), sg.nn.BatchNorm(8), sg.LIF(5.0), sg.Linear(8, 3), sg.LI(5.0),
        backend="triton",
    )  # fmt: skip
    x = torch.rand(9, 3, 6) * 3.0
    want, got = run_network(network.eval(), x), run_network(network, x, compiled(network))
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_kernel_that_differs_is_left_out_of_the_graph(
    as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "compared", lambda *_: "it is wrong")
    torch.manual_seed(0)
    layer, x = sg.LIF(10.0), torch.rand(6, 2, 3)
    with pytest.warns(sg.SpikegradWarning, match="lif runs in torch.*it is wrong"):
        y, _ = compiled(layer)(x)
    assert torch.equal(y, sg.LIF(10.0, backend="reference")(x)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", sg.SpikegradWarning)
        compiled(sg.LIF(10.0, reset="zero"))(x)  # it said so


def test_a_program_of_another_process_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that is loaded from a file knows a program's key alone."""
    layer, x = sg.LIF(10.0, backend="triton"), torch.rand(6, 2, 3)
    run_compiled = compiled(layer)
    with torch.no_grad():
        run_compiled(x)
        monkeypatch.setattr(programs, "PROGRAMS", {})
        with pytest.raises(sg.UserError, match="expected a Triton program that this process"):
            run_compiled(x)
