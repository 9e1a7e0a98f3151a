"""Neurons written as one step under `torch.compile`: one graph, also with a state given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from native import needs_kernels
from torch import Tensor

import spikegrad as sg


@sg.neuron(
    states={"v": 0.0},
    parameters={"tau_mem": sg.TimeConstant(20.0, decay="beta"), "threshold": 1.0},
)
def Leaky(x: Tensor, s: Any, p: Any) -> Any:
    """LIF."""
    u = p.beta * s.v + x
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired)}


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_step_between_layers_compiles_with_every_shape_and_a_state(backend: Any) -> None:
    torch.manual_seed(0)
    network = sg.Sequential(
        sg.Linear(7, 5), Leaky(size=5, learn="tau_mem", backend=backend), sg.Linear(5, 5)
    )
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    parameters = list(network.parameters())
    for shape in ((4, 3, 7), (5, 2, 7), (3, 4, 7)):
        x = 4 * torch.rand(shape)
        want, state = network(x)  # before and after other shapes
        begin = sg.cut(state)
        assert begin[1].v.abs().max() > 0
        for given, theirs in ((None, want), (begin, network(x, begin)[0])):
            mine, _ = compiled(x, given)
            torch.testing.assert_close(mine, theirs)
            torch.testing.assert_close(
                torch.autograd.grad(mine.square().sum(), parameters),
                torch.autograd.grad(theirs.square().sum(), parameters),
            )


@needs_kernels
def test_the_native_scan_is_one_node() -> None:
    network, names = sg.Sequential(sg.Linear(7, 5), Leaky(size=5, learn="tau_mem")), []

    def backend(graph: Any, inputs: Any) -> Any:
        names.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    for operator, called in (("layer", network), ("step_scan", network[1])):
        names.clear()
        torch._dynamo.reset()
        width = 7 if operator == "layer" else 5
        torch.compile(called, fullgraph=True, backend=backend)(torch.rand(40, 3, width))
        assert sum(f"spikegrad.{operator}" in name for name in names) == 1
        assert len(names) < 60  # not 40 steps of a loop


@needs_kernels
def test_a_saved_graph_of_a_neuron_that_this_process_does_not_know() -> None:
    inputs = (torch.rand(4, 2, 3), torch.zeros(1, 2, 3), torch.zeros(5, 1))
    x, *others = inputs
    with pytest.raises(RuntimeError, match="expected a neuron whose program this process has load"):
        torch.ops.spikegrad.step_scan(1234567, x, None, *others, True, 0)


@pytest.mark.parametrize("where", ["behind neurons", "feedback"])
def test_gaussian_delays_whose_width_ends_a_graph(where: str) -> None:
    """A number read from a tensor cuts the graph in the middle of a `Sequential`."""
    torch.manual_seed(0)
    lif = sg.LIF(10.0)
    if where == "feedback":
        delayed = sg.DelayedLinear(5, 5, 2.0, learn="gaussian")
        layers = [sg.Linear(4, 5), sg.Recurrent(lif, connection=delayed), sg.Linear(5, 2)]
    else:
        delayed = sg.DelayedLinear(6, 2, 3.0, learn="gaussian")
        layers = [sg.Linear(4, 6), lif, delayed, sg.LI(10.0)]
    network, x = sg.Sequential(*layers).double(), torch.rand(6, 2, 4, dtype=torch.float64) * 3
    found = []
    for run in (network, torch.compile(network, backend="aot_eager")):
        network.zero_grad()
        y, _ = run(x)
        y.square().sum().backward()
        found.append([y.detach(), *(p.grad.clone() for p in network.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
