"""Networks under `torch.compile`: one graph with the native operators in it, the same results."""

from __future__ import annotations

import pytest
import torch

import spikegrad as sg
from spikegrad import surrogate as S
from spikegrad.kernels import cpu

native = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")


def network() -> sg.Sequential:
    torch.manual_seed(0)
    triangle = S.triangle(1.0)
    return sg.Sequential(
        sg.Linear(20, 33),
        sg.LIF(5.0, surrogate=triangle, learn=("tau_mem", "threshold", "slope")),
        sg.Linear(33, 17),
        sg.Recurrent(sg.ALIF(20.0, tau_adapt=50.0, surrogate=triangle), 17),
        sg.Linear(17, 5),
        sg.LI(5.0),
    )


def outcome(run, net: sg.Sequential) -> tuple[torch.Tensor, ...]:
    x = (torch.rand(6, 3, 20, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    y, states = run(x)
    gradients = torch.autograd.grad(y.square().sum(), list(net.parameters()))
    return y, states[1].v, states[3].s, *gradients


@native
def test_the_native_operators_are_in_one_graph() -> None:
    net, names = network(), []

    def backend(graph, inputs):
        names.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    torch._dynamo.reset()
    torch.compile(net, fullgraph=True, backend=backend)(torch.rand(6, 3, 20))
    assert sum("spikegrad.layer" in name for name in names) == 3


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_equals_eager(backend: str) -> None:
    """Inductor is cold here: it builds everything anew."""
    net = network()
    want = outcome(net, net)
    torch._dynamo.reset()
    with torch._inductor.utils.fresh_cache():
        got = outcome(torch.compile(net, fullgraph=True, backend=backend), net)
    torch.testing.assert_close(got, want)


@native
def test_another_surrogate_is_compiled_again() -> None:
    """Another record, and the same record whose name was given to another function."""
    torch.manual_seed(0)
    net = sg.Sequential(sg.Linear(6, 5), sg.LIF(5.0))
    x = torch.rand(4, 3, 6)
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")

    def gradients(run) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(run(x)[0].square().sum(), list(net.parameters()))

    def own(function) -> S.Surrogate:
        return S.register("mine", function, support=1.0, kinks=(-1, 0, 1), replace_own=True)

    try:
        first = own(lambda z: torch.clamp(1 - z * z, min=0) * 0.75)
        peak = S.get("arctan", 3.0, normalisation="peak")
        for record in (S.arctan(2.0), S.arctan(2.0, gain=2.0), peak, first):
            net[1].surrogate = record
            torch.testing.assert_close(gradients(compiled), gradients(net))
        own(lambda z: torch.clamp(1 - z.abs(), min=0))
        torch.testing.assert_close(gradients(compiled), gradients(net))
    finally:
        S.unregister("mine")
