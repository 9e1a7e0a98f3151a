"""Sources x delays x sparse x feedback x lengths x chunks against the reference, every gradient.

A covering design: every pair of choices meets in some network.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from covering import covering
from native import needs_kernels
from torch import Tensor, nn

import spikegrad as sg

pytestmark = needs_kernels

STEPS, BATCH, INPUTS, A, B, N = 11, 5, 12, 70, 9, 20
CONNECTIONS = ("dense", "sparse", "fixed delays", "learned delays", "sparse delays", "gaussian")
AXES: dict[str, tuple[Any, ...]] = {
    "first": CONNECTIONS,
    "second": ("none", *CONNECTIONS),
    "reads": ("b", "a", "input"),
    "feedback": ("none", "dense", "sparse", "delayed"),
    "neuron": ("lif", "tails", "alif", "cuba", "izhikevich", "learned"),
    "run": ("whole", "chunks", "steps", "lengths"),
    "dtype": (torch.float64, torch.float32),
    "frozen": ("nothing", "first", "input"),
}
# Two of a kind from two signals are one call, which pairs of choices alone would seldom meet.
ONE_CALL = {**AXES, "reads": ("b", "input"), "feedback": ("none", "dense", "sparse")}
ONE_CALL = {axis: values for axis, values in ONE_CALL.items() if axis not in ("first", "second")}
ROWS = [
    *covering(AXES),
    *(
        {"first": kind, "second": kind, **row}
        for kind in ("dense", "sparse")
        for row in covering(ONE_CALL)
    ),
]
TRIANGLE, ARCTAN = sg.surrogate.triangle(2.0), sg.surrogate.arctan(2.0)


def connection(kind: str, inputs: int, outputs: int) -> nn.Module:
    """A connection of a kind, whose synapses and delays torch's own generator draws."""
    sparse = 0.4 if kind.startswith("sparse") else None
    if kind in ("dense", "sparse"):
        return sg.Linear(inputs, outputs, connectivity=sparse)
    learn = {"learned delays": "interpolation", "gaussian": "gaussian"}.get(kind)
    delays = torch.randint(0, 5, (outputs, inputs)).float() if kind == "fixed delays" else None
    if kind == "sparse delays":
        learn = "interpolation"
    return sg.DelayedLinear(inputs, outputs, 4.0, delays=delays, learn=learn, connectivity=sparse)


def neuron(kind: str) -> Any:
    """Neurons of a kind."""
    if kind == "lif":
        return sg.LIF(6.0, surrogate=TRIANGLE)
    if kind == "tails":
        return sg.LIF(6.0, surrogate=ARCTAN)
    if kind == "alif":
        return sg.ALIF(6.0, tau_adapt=20.0, surrogate=TRIANGLE)
    if kind == "cuba":
        return sg.CUBALIF(6.0, 3.0, surrogate=TRIANGLE)
    if kind == "izhikevich":
        return sg.Izhikevich(surrogate=ARCTAN)
    return sg.LIF(6.0, surrogate=TRIANGLE, learn=("tau_mem", "threshold"))


class Graph(sg.Module):
    """Up to two connections into neurons with or without feedback."""

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__()
        self.row = row
        self.a, self.lif_a = sg.Linear(INPUTS, A), sg.LIF(4.0, surrogate=TRIANGLE)
        self.b, self.lif_b = sg.Linear(INPUTS, B), sg.LIF(3.0, surrogate=ARCTAN)
        self.first = connection(row["first"], A, N)
        if row["second"] != "none":
            sizes = {"a": A, "b": B, "input": INPUTS}
            self.second = connection(row["second"], sizes[row["reads"]], N)
        cell, fed = neuron(row["neuron"]), row["feedback"]
        if fed == "none":
            self.neurons = cell
        elif fed == "delayed":
            back = sg.DelayedLinear(N, N, 2.0, learn="interpolation")
            self.neurons = sg.Recurrent(cell, connection=back)
        else:
            share = 0.3 if fed == "sparse" else None
            self.neurons = sg.Recurrent(cell, connection=sg.Linear(N, N, connectivity=share))
        self.out, self.readout = sg.Linear(N, 3), sg.LI(8.0)

    def flow(self, x: Tensor) -> Any:
        read = {"a": self.lif_a(self.a(x)), "b": self.lif_b(self.b(x)), "input": x}
        current = self.first(read["a"])
        if self.row["second"] != "none":
            current = current + self.second(read[self.row["reads"]])
        return self.readout(self.out(self.neurons(current))) + read["b"].mean(-1, keepdim=True)


def made(row: dict[str, Any]) -> Graph:
    """The network, whose neurons fire."""
    torch.manual_seed(3)
    network = Graph(row)
    gain = 300.0 if row["neuron"] == "izhikevich" else 3.0
    with torch.no_grad():
        for layer in (network.a, network.b):
            layer.weight.mul_(3.0)
        for layer in (network.first, getattr(network, "second", None)):
            if layer is not None:
                layer.weight.mul_(gain)
    network.first.weight.requires_grad_(row["frozen"] != "first")
    return network.to(row["dtype"])


def run(network: Graph, x: Tensor, how: str) -> Tensor:
    """The output of the whole, of chunks, of single steps, or of samples of different length."""
    if how == "lengths":
        return network(x, lengths=torch.tensor([11, 3, 7, 1, 11]))[0]
    if how == "whole":
        return network(x)[0]
    parts, states = [], None
    for part in x.split(4 if how == "chunks" else 1):
        y, states = network(part, states)
        parts.append(y)
    return torch.cat(parts)


def name(row: dict[str, Any]) -> str:
    return "-".join(str(value).replace("torch.", "") for value in row.values())


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_every_source_is_the_references(row: dict[str, Any]) -> None:
    network, found = made(row), []
    drawn = torch.rand(STEPS, BATCH, INPUTS, generator=torch.Generator().manual_seed(1))
    x = (drawn < 0.4).to(row["dtype"])
    x.requires_grad_(row["frozen"] != "input")
    for backend in ("auto", "reference"):
        sg.nn.use_backend(network, backend)
        y = run(network, x, row["run"])
        wanted = [p for p in (x, *network.parameters()) if p.requires_grad]
        grads = torch.autograd.grad(y.square().sum(), wanted, allow_unused=True)
        found.append([y, *[g for g in grads if g is not None]])
    assert found[1][0].detach().abs().sum() > 0
    assert len(found[0]) == len(found[1])
    exact = row["dtype"] == torch.float64
    for mine, want in zip(*found, strict=True):
        size = float(want.detach().abs().max()) + 1e-12
        close = torch.allclose(
            mine, want, rtol=1e-7 if exact else 1e-3, atol=size * (1e-9 if exact else 1e-4)
        )
        assert close, (row, float((mine - want).detach().abs().max()), size)


def test_the_neurons_of_the_grid_fire() -> None:
    """A grid of silent neurons would say nothing."""
    firing = []
    for row in ROWS:
        network = made(row)
        drawn = torch.rand(STEPS, BATCH, INPUTS, generator=torch.Generator().manual_seed(1))
        with sg.record(network, membrane=False) as tapes, torch.no_grad():
            network((drawn < 0.4).to(row["dtype"]))
        tape = next(tape for key, tape in tapes.items() if key.startswith("neurons"))
        firing.append(float(tape.spikes.mean()))
    assert min(firing) > 0
    assert sum(firing) / len(firing) > 0.05
