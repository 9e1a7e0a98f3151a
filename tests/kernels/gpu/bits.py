"""Spikes that travel between layers as bits, in Triton's interpreter.

`test_triton.py` runs this file in a process of its own, with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from small_networks import network_of, run_network
from steps import ALIF, LIF
from torch import Tensor

import spikegrad as sg
from spikegrad import surrogate
from spikegrad.kernels.triton import feedback as fed
from spikegrad.kernels.triton import product as products
from spikegrad.kernels.triton import step
from spikegrad.kernels.triton.spikes import FEWEST, Spikes
from spikegrad.nn import sequential
from spikegrad.step import Step

assert os.environ["TRITON_INTERPRET"] == "1"
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
"""Of the largest value: sums in another order, and of half types one rounding."""


@pytest.fixture
def products_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the spikes that were read as bits."""
    seen: list[tuple[int, ...]] = []
    original = products.run

    def run(edge: Tensor, *args: Any) -> Tensor:
        seen.append(tuple(edge.shape))
        return original(edge, *args)

    monkeypatch.setattr(products, "run", run)
    return seen


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("sizes", [(9, 3, 70, 5), (17, 5, 3, 66), (8, 1, 1, 1)], ids=str)
def test_a_product_and_its_gradients(dtype: torch.dtype, sizes: tuple[int, ...]) -> None:
    """Of sizes beside those of blocks: of bytes, rows, inputs, outputs."""
    steps, batch, inputs, outputs = sizes
    torch.manual_seed(0)
    spikes = torch.rand(steps, batch, inputs) < 0.4
    weight, bias = torch.randn(outputs, inputs), torch.randn(outputs)
    grad, found = torch.randn(steps, batch, outputs).to(dtype), []
    for kernel in (False, True):
        edge = torch.zeros(spikes.shape, dtype=dtype, requires_grad=True)
        w, b = (given.to(dtype).requires_grad_() for given in (weight, bias))
        x = Spikes(edge, products.packed(spikes))
        y = products.product(x, w, b) if kernel else x.numbers() @ w.T + b
        found.append([y.detach(), *torch.autograd.grad(y, (edge, w, b), grad)])
    for want, got in zip(*found, strict=True):
        assert got.dtype == dtype
        scale = want.abs().max().clamp(min=1.0) * TOLERANCE[dtype]
        assert (want - got).abs().max() <= scale


def test_a_product_in_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """More lines of bytes than one program instance sums over, and a last share that is shorter."""
    monkeypatch.setattr("spikegrad.kernels.triton.product_launch.SHARE", 8)
    spikes = torch.rand(40, 7, 5) < 0.4  # 35 lines: 4 shares of 12, the last one empty
    w = torch.rand(3, 5, dtype=torch.float64, requires_grad=True)
    x = Spikes(torch.zeros(spikes.shape, dtype=torch.float64), products.packed(spikes))
    grad = torch.randn(40, 7, 3, dtype=torch.float64)
    (got,) = torch.autograd.grad(products.product(x, w), w, grad)
    assert torch.allclose(got, torch.einsum("tbo,tbi->oi", grad, spikes.double()))


@pytest.mark.parametrize("definition", [LIF, ALIF], ids=["lif", "alif"])
@pytest.mark.parametrize("lean", [False, True])
def test_packed_spikes_are_the_spikes(definition: Step, lean: bool) -> None:
    """With the gradients of the spikes, in two chunks of which one ends inside a byte."""
    torch.manual_seed(1)
    x, found = torch.rand(21, 2, 5), []
    for pack in (False, True):
        given = x.clone().requires_grad_()
        first, state = step(definition, given[:10], pack=pack, lean=lean, refractory=1)
        rest, end = step(definition, given[10:], state, pack=pack, lean=lean, refractory=1)
        assert isinstance(first, Spikes) is pack
        y = torch.cat([part.numbers() if pack else part for part in (first, rest)])
        ((y * x).sum() + end.v.sum()).backward()
        found.append((y, end.v, given.grad))
    assert all(torch.equal(want, got) for want, got in zip(*found, strict=True))
    assert 0.1 < found[0][0].mean() < 0.9


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("columns", [5, 70])
def test_packed_spikes_that_are_fed_back(columns: int, lean: bool) -> None:
    """Of a weight in registers, and of one that is read in parts, from a state of numbers."""
    torch.manual_seed(1)
    x, found = torch.rand(11, 3, columns), []
    weight = torch.randn(columns, columns) / columns**0.5
    first = torch.rand(3, columns)  # no spikes
    for pack in (False, True):
        given, w, s = (part.clone().requires_grad_() for part in (x, weight, first))
        state = sg.types.RecurrentState(None, s)
        y, end = fed.recurrent(LIF, given, state, weight=w, lean=lean, pack=pack)
        y = y.numbers() if pack else y
        ((y * x).sum() + (end.s * first).sum()).backward()
        found.append((y, end.s, given.grad, w.grad, s.grad))
    assert all(torch.equal(want, got) for want, got in zip(*found, strict=True))
    assert 0.05 < found[0][0].mean() < 0.9


def test_a_network_whose_layers_pass_bits(products_of: list[tuple[int, ...]]) -> None:
    network, x = network_of(), torch.rand(12, 3, 6) * 3.0
    found = []
    for backend in ("reference", "triton"):
        sg.nn.use_backend(network, backend)
        found.append(run_network(network, x))
    assert products_of == [(12, 3, 8), (12, 3, 9)]
    for want, got in zip(*found, strict=True):
        assert torch.allclose(want, got, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        y, _ = network(x)
    assert torch.equal(y, found[1][0])


def test_a_batch_norm_passes_and_reads_bits(products_of: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    network = sg.Sequential(
        sg.Linear(6, 8), sg.nn.BatchNorm(8), sg.LIF(5.0),
        sg.Linear(8, 7), sg.nn.BatchNorm(7), sg.LIF(5.0), sg.Linear(7, 3),
    ).double()  # fmt: skip
    x, found = torch.rand(10, 4, 6, dtype=torch.float64) * 3.0, []
    for backend in ("reference", "triton"):
        sg.nn.use_backend(network, backend)
        network.zero_grad()
        y, _ = network(x)
        y.square().sum().backward()
        found.append([y, *(p.grad for p in network.parameters())])
    assert products_of == [(10, 4, 8), (10, 4, 7)]
    for want, got in zip(*found, strict=True):
        assert torch.allclose(want, got, rtol=1e-8, atol=1e-10)


def test_who_gets_numbers(products_of: list[tuple[int, ...]]) -> None:
    """Whatever is no layer of these kernels: no spikes, a tape, a hook, few steps, other types."""
    torch.manual_seed(0)
    x = torch.rand(8, 3, 6) * 3.0

    def pair(neuron: Any, *between: Any) -> sg.Sequential:
        layers = [sg.Linear(6, 5), neuron, *between, sg.Linear(5, 2)]
        return sg.Sequential(*layers, backend="triton")

    pair(sg.LI(5.0))(x)
    pair(sg.LIF(5.0, spike="ternary"))(x)
    pair(sg.LIF(5.0), torch.nn.Identity())(x)
    pair(sg.LIF(5.0))(x[: FEWEST - 1])
    with torch.autocast("cpu", torch.bfloat16):
        pair(sg.LIF(5.0))(x)
    hooked = pair(sg.LIF(5.0))
    hooked[2].register_forward_hook(lambda *_: None)
    hooked(x)
    with sg.record(network := pair(sg.LIF(5.0)), membrane=False) as tapes:
        network(x)
    assert tapes["1"].spikes.any()
    mixed = pair(sg.LIF(5.0))
    mixed[2].backend = "reference"
    mixed(x)
    assert products_of == []
    network(x)
    assert products_of == [(8, 3, 5)]


def bytes_kept(network: Any, x: Tensor) -> float:
    """Of what autograd saves over time, for each neuron and step of the hidden layers."""
    kept: dict[int, int] = {}

    def keep(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        network(x)
    known = [*network.parameters(), x]
    for tensor in known:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    neurons = sum(layer.out_features for layer in network[:-2] if isinstance(layer, sg.Linear))
    least = x.shape[0] * x.shape[1] * neurons // 16  # less does not grow with time
    return sum(size for size in kept.values() if size >= least) / (neurons * x[..., 0].numel())


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("arctan", 8.0, 4.125), ("boxcar", 4.125, 0.25), ("straight_through", 4.0, 0.125)],
)
def test_what_a_neuron_step_keeps(
    name: str, before: float, after: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Membranes or masks, and the spikes, which the next weight's gradient reads: as numbers where
    the layers pass on numbers. (Before masks were bits, a boxcar kept 5 bytes.)
    """
    torch.manual_seed(0)
    record = surrogate.get(name)
    network = sg.Sequential(
        sg.Linear(5, 64), sg.LIF(5.0, surrogate=record),
        sg.Linear(64, 64), sg.LIF(5.0, surrogate=record),
        sg.Linear(64, 2), sg.LI(5.0), backend="triton",
    )  # fmt: skip
    x = torch.rand(64, 2, 5)
    assert bytes_kept(network, x) == after
    monkeypatch.setattr(sequential, "reader_of", lambda *_: None)
    assert bytes_kept(network, x) == before


def test_fed_back_spikes_are_kept_as_bits() -> None:
    torch.manual_seed(0)
    network = sg.Sequential(
        sg.Linear(5, 64), sg.nn.Recurrent(sg.LIF(5.0), 64), sg.Linear(64, 2), sg.LI(5.0),
        backend="triton",
    )  # fmt: skip
    assert bytes_kept(network, torch.rand(128, 2, 5)) == 4.125


def test_a_second_derivative_through_bits_is_refused() -> None:
    network = sg.Sequential(sg.Linear(6, 5), sg.LIF(5.0), sg.Linear(5, 2), backend="triton")
    y, _ = network(torch.rand(8, 3, 6) * 3.0)
    for parameter in (network[0].weight, network[2].weight):
        (first,) = torch.autograd.grad(y.sum(), parameter, create_graph=True)
        with pytest.raises(RuntimeError, match="backend='reference'"):
            first.sum().backward(retain_graph=True)


def test_explain_names_the_products() -> None:
    network = sg.Sequential(
        sg.Linear(6, 5), sg.LIF(5.0), sg.Linear(5, 4), sg.LIF(5.0), sg.Linear(4, 2),
        backend="triton",
    )  # fmt: skip
    rows = sg.diagnose.explain(network, torch.rand(8, 3, 6))
    assert [row.reason for row in rows] == [
        "torch's product, and a Triton scan that adds the bias",
        "a product of spikes as bits, and a Triton scan that adds the bias",
        "a product of spikes as bits",
    ]
    assert {row.backend for row in rows} == {"triton"}
    assert all(row.backward_ms is not None for row in rows)


class Sum(sg.Module):
    """Two signals, one of them twice, into the same neurons, and their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.lif_a = sg.Linear(4, 9), sg.LIF(4.0, surrogate=surrogate.arctan(2.0))
        self.b, self.lif_b = sg.Linear(4, 7), sg.LIF(3.0, surrogate=surrogate.triangle(2.0))
        self.ac, self.bc, self.more = sg.Linear(9, 5), sg.Linear(7, 5), sg.Linear(9, 5)
        self.lif_c = sg.LIF(5.0, surrogate=surrogate.arctan(2.0))

    def flow(self, x: Tensor) -> Any:
        a, b = self.lif_a(self.a(x)), self.lif_b(self.b(x))
        c = self.lif_c(self.ac(a) + self.bc(b) + self.more(a))
        return c + a.mean(-1, keepdim=True)


def test_sums_of_signals(products_of: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    network = Sum().double()
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(3.0)
    x, found = torch.rand(9, 3, 4, dtype=torch.float64), []
    for backend in ("triton", "reference"):
        sg.nn.use_backend(network, backend)
        y, _ = network(x)
        found.append([y, *torch.autograd.grad(y.square().sum(), list(network.parameters()))])
    assert products_of == [(9, 3, 16)]
    assert found[0][0].mean() > 0
    for mine, want in zip(*found, strict=True):
        assert torch.allclose(mine, want, rtol=1e-9, atol=1e-11)
