"""Spikes that stay bits in a `Module`, with several readers, and sums of several connections."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from native import Seen
from torch import Tensor, nn

import spikegrad as sg
from spikegrad.kernels import cpu
from spikegrad.nn.signal import Signal

pytestmark = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")

SURROGATES = {"places": sg.surrogate.triangle(2.0), "tails": sg.surrogate.arctan(2.0)}


class Graph(sg.Module):
    """Layers of sizes that are no multiples of a word, with a flow of the test's own."""

    def __init__(
        self, flow: Callable[[Any, Tensor], Any], surrogates: tuple[str, str], dtype: Any
    ) -> None:
        super().__init__()
        one, two = (SURROGATES[name] for name in surrogates)
        self.a, self.lif_a = sg.Linear(20, 70), sg.LIF(4.0, surrogate=one)
        self.b, self.lif_b = sg.Linear(20, 33), sg.LIF(6.0, surrogate=two)
        self.ac, self.bc = sg.Linear(70, 40), sg.Linear(33, 40, bias=False)
        self.xc, self.ac2 = sg.Linear(20, 40), sg.Linear(70, 40)
        self.lif_c = sg.LIF(5.0, surrogate=one)
        self.rec_c = sg.Recurrent(sg.LIF(5.0, surrogate=one), 40)
        self.out, self.li = sg.Linear(40, 3), sg.LI(8.0)
        self.given = flow
        self.to(dtype)

    def flow(self, x: Tensor) -> Any:
        return self.given(self, x)


class Sparse(Graph):
    """The same with some synapses alone."""

    def __init__(
        self, flow: Callable[[Any, Tensor], Any], surrogates: tuple[str, str], dtype: Any
    ) -> None:
        super().__init__(flow, surrogates, dtype)
        draw = torch.Generator().manual_seed(3)
        for name, share in (("ac", 0.2), ("bc", 0.4), ("ac2", 0.1), ("xc", 0.5)):
            dense = getattr(self, name)
            some = sg.Linear(dense.in_features, 40, connectivity=share, generator=draw, dtype=dtype)
            setattr(self, name, some)


def end(m: Any, c: Any) -> Any:
    return m.li(m.out(c))


def two_signals(m: Any, x: Tensor) -> Any:
    a, b = m.lif_a(m.a(x)), m.lif_b(m.b(x))
    return end(m, m.lif_c(m.ac(a) + m.bc(b)))


def three_readers(m: Any, x: Tensor) -> Any:
    a, b = m.lif_a(m.a(x)), m.lif_b(m.b(x))
    c = m.lif_c(m.ac(a) + m.bc(b) + m.ac2(a))
    return end(m, c) + a.mean() + b.sum(-1, keepdim=True)


def with_the_input(m: Any, x: Tensor) -> Any:
    a = m.lif_a(m.a(x))
    return end(m, m.lif_c(m.ac(a) + m.xc(x)))


def input_first(m: Any, x: Tensor) -> Any:
    a, b = m.lif_a(m.a(x)), m.lif_b(m.b(x))
    return end(m, m.lif_c(m.xc(x.detach()) + m.bc(b) + m.ac(a)))


def fed_back(m: Any, x: Tensor) -> Any:
    a, b = m.lif_a(m.a(x)), m.lif_b(m.b(x))
    return end(m, m.rec_c(m.ac(a) + m.bc(b)))


FLOWS = (two_signals, three_readers, with_the_input, input_first, fed_back)


def spikes_in(dtype: torch.dtype, steps: int = 9) -> Tensor:
    source = torch.Generator().manual_seed(1)
    return (torch.rand(steps, 35, 20, generator=source) < 0.4).to(dtype)


def dyadic(network: nn.Module) -> None:
    """Weights and time constants of few bits: sums are exact in any order."""
    source = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randint(-6, 9, p.shape, generator=source) / 16)


@pytest.mark.parametrize("surrogates", [("places", "places"), ("tails", "places"), ("tails",) * 2])
@pytest.mark.parametrize("kind", [Graph, Sparse])
@pytest.mark.parametrize("flow", FLOWS)
def test_equals_the_reference(flow: Any, kind: Any, surrogates: tuple[str, str]) -> None:
    torch.manual_seed(0)
    network, x = kind(flow, surrogates, torch.float64), spikes_in(torch.float64)
    x.requires_grad_()
    found = []
    for backend in ("auto", "reference"):
        sg.nn.use_backend(network, backend)
        y, states = network(x)
        used = [p for p in network.parameters() if p.requires_grad]
        grads = torch.autograd.grad(y.square().sum(), [x, *used], allow_unused=True)
        ends = [s.v for s in states.values() if hasattr(s, "v")]
        found.append([y, *ends, *[g for g in grads if g is not None]])
    assert found[0][0].abs().sum() > 0
    assert all(g.abs().sum() > 0 for g in found[1])
    assert len(found[0]) == len(found[1])
    for mine, want in zip(*found, strict=True):
        assert torch.allclose(mine, want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", [Graph, Sparse])
@pytest.mark.parametrize("flow", FLOWS[:4])
def test_dyadic_spikes_bit_for_bit(flow: Any, kind: Any) -> None:
    network, x = kind(flow, ("places", "tails"), torch.float32), spikes_in(torch.float32)
    dyadic(network)
    with sg.record(network) as tapes, torch.no_grad():
        network(x)
    got = network(x)[0]
    assert 0.02 < float(tapes["lif_c"].spikes.mean()) < 0.97
    sg.nn.use_backend(network, "reference")
    assert torch.equal(network(x)[0], got)


@pytest.mark.parametrize("flow", [flow for flow in FLOWS if flow is not three_readers])
def test_chunks_are_the_whole(flow: Any) -> None:
    network, x = Graph(flow, ("places", "tails"), torch.float32), spikes_in(torch.float32)
    dyadic(network)
    whole, parts, states = network(x)[0], [], None
    for first in (0, 1, 5):
        y, states = network(x[first : {0: 1, 1: 5, 5: 9}[first]], states)
        parts.append(y)
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("kind", [Graph, Sparse])
def test_a_sum_is_one_call_and_its_spikes_stay_bits(kind: Any) -> None:
    kinds = []

    def flow(m: Any, x: Tensor) -> Any:
        a, b = m.lif_a(m.a(x)), m.lif_b(m.b(x))
        kinds.extend([type(a), a.known, b.known])
        c = m.lif_c(m.ac(a) + m.bc(b) + m.ac2(a))
        out = end(m, c)
        kinds.extend([a.known, b.known, c.known])
        return out

    network = kind(flow, ("places", "places"), torch.float32)
    with Seen() as seen:
        network(spikes_in(torch.float32))
    layers = [f for f, _ in seen.calls if f.name() == "spikegrad::layer"]
    assert kinds == [Signal, *[None] * 5]
    assert len(layers) == 4  # a, b, c and the readout


def test_numbers_where_somebody_looks() -> None:
    seen: list[Any] = []

    def flow(m: Any, x: Tensor) -> Any:
        a = m.lif_a(m.a(x))
        seen.append((a.shape, a.dtype, a.dim()))
        seen.append(torch.equal(a, (a * 2 - a)))
        a.mul_(0.0)  # numbers that are known count
        return end(m, m.lif_c(m.ac(a))), a

    network = Graph(flow, ("places", "places"), torch.float32)
    y, a = network(spikes_in(torch.float32))[0]
    assert seen == [((9, 35, 70), torch.float32, 3), True]
    assert type(a) is Tensor
    assert not a.any()
    silent = network.lif_c(network.ac(a))[0]
    assert torch.equal(y, network.li(network.out(silent))[0])


def test_a_change_in_place_of_spikes_after_a_connection_is_an_error() -> None:
    def flow(m: Any, x: Tensor) -> Any:
        a = m.lif_a(m.a(x))
        c = m.ac(a)
        a.mul_(0.0)
        return end(m, m.lif_c(c))

    network = Graph(flow, ("places", "places"), torch.float32)
    with torch.no_grad(), pytest.raises(sg.UserError, match="unchanged until neurons"):
        network(spikes_in(torch.float32))


def test_copies_are_tensors() -> None:
    kept: list[Any] = []

    def flow(m: Any, x: Tensor) -> Any:
        a = m.lif_a(m.a(x))
        kept.append(pickle.loads(pickle.dumps(a)))
        return end(m, m.lif_c(m.ac(a)))

    with torch.no_grad():
        Graph(flow, ("places", "places"), torch.float32)(spikes_in(torch.float32))
    assert type(kept[0]) is Tensor
    assert set(kept[0].unique().tolist()) == {0.0, 1.0}


def test_sequences_of_different_length() -> None:
    torch.manual_seed(0)
    network, x = Graph(two_signals, ("places", "tails"), torch.float64), spikes_in(torch.float64)
    lengths = torch.arange(35) % 9 + 1
    y, _ = network(x, lengths=lengths)
    for sample in (0, 7, 8, 30):
        many = int(lengths[sample])
        alone, _ = network(x[:many, sample : sample + 1])
        assert torch.allclose(y[:many, sample : sample + 1], alone, atol=1e-12)
        assert not y[many:, sample].any()
    parameters = list(network.ac.parameters()) + list(network.bc.parameters())
    got = torch.autograd.grad(y.square().sum(), parameters)
    sg.nn.use_backend(network, "reference")
    want = torch.autograd.grad(network(x, lengths=lengths)[0].square().sum(), parameters)
    for mine, other in zip(got, want, strict=True):
        assert torch.allclose(mine, other, rtol=1e-9, atol=1e-11)


def test_other_sums_are_numbers() -> None:
    """Of numbers that are no spikes."""

    def flow(m: Any, x: Tensor) -> Any:
        a = m.lif_a(m.a(x))
        return end(m, m.lif_c(m.ac(a) + m.xc(0.3 * x)))

    torch.manual_seed(0)
    network, x = Graph(flow, ("places", "places"), torch.float64), spikes_in(torch.float64)
    y, _ = network(x)
    rows = sg.diagnose.explain(network, x)
    assert [row.layers for row in rows][1:4] == [("ac",), ("xc",), ("lif_c",)]
    sg.nn.use_backend(network, "reference")
    assert torch.allclose(network(x)[0], y, atol=1e-12)


def gradient_by(a: Tensor, y: Tensor) -> Tensor:
    return torch.autograd.grad(y.square().sum(), a)[0]


def numbers_first(m: Any, x: Tensor) -> Any:
    """Spikes that somebody reads before neurons take them."""
    a = m.lif_a(m.a(x))
    c = m.ac(a)
    d = 0.01 * a.sum(2, keepdim=True)
    return end(m, m.lif_c(c + m.ac2(a))) + d, a


def a_copy(m: Any, x: Tensor) -> Any:
    a = m.lif_a(m.a(x)).clone()
    return end(m, m.lif_c(m.ac(a) + m.ac2(a))), a


@pytest.mark.parametrize("flow", [numbers_first, a_copy])
def test_gradients_by_spikes(flow: Any) -> None:
    torch.manual_seed(0)
    network, x = Graph(flow, ("places", "tails"), torch.float64), spikes_in(torch.float64)
    (y, a), _ = network(x)
    got = gradient_by(a, y)
    sg.nn.use_backend(network, "reference")
    (y, a), _ = network(x)
    assert torch.allclose(got, gradient_by(a, y), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["retain_grad", "register_hook"])
def test_who_asks_for_the_gradient_of_spikes_too_late_is_told(name: str) -> None:
    def flow(m: Any, x: Tensor) -> Any:
        a = m.lif_a(m.a(x))
        y = end(m, m.lif_c(m.ac(a)))
        getattr(a, name)
        return y

    network = Graph(flow, ("places", "tails"), torch.float32)
    with pytest.raises(sg.UserError, match=rf"expected {name} of spikes before"):
        network(spikes_in(torch.float32))


def test_a_hook_before_sees_the_whole_gradient() -> None:
    seen: list[Tensor] = []

    def flow(m: Any, x: Tensor) -> Any:
        a = m.lif_a(m.a(x))
        a.register_hook(lambda g: seen.append(g))
        return end(m, m.lif_c(m.ac(a) + m.ac2(a)))

    torch.manual_seed(0)
    network, x = Graph(flow, ("places", "tails"), torch.float64), spikes_in(torch.float64)
    for backend in ("auto", "reference"):
        sg.nn.use_backend(network, backend)
        network(x)[0].square().sum().backward()
    assert len(seen) == 2
    assert torch.allclose(*seen, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", [Graph, Sparse])
@pytest.mark.parametrize("flow", FLOWS)
def test_inference_mode(flow: Any, kind: Any) -> None:
    torch.manual_seed(0)
    network, x = kind(flow, ("places", "tails"), torch.float64), spikes_in(torch.float64)
    with torch.inference_mode():
        got, _ = network(x)
        again, _ = network(x.clone())
    y, _ = network(x)  # and trains as ever afterwards
    y.square().sum().backward()
    sg.nn.use_backend(network, "reference")
    want, _ = network(x)
    for found in (got, again, y):
        assert torch.allclose(found, want, atol=1e-12)


def test_numbers_read_in_inference_mode_and_in_a_transform() -> None:
    rates: list[Any] = []

    def flow(m: Any, x: Tensor) -> Any:
        a = m.lif_a(m.a(x))
        with torch.inference_mode():
            rates.append(a.mean().item())
        b = m.lif_b(m.b(x))
        w = torch.tensor(2.0, dtype=x.dtype)
        rates.append(torch.func.grad(lambda w: (b * w).sum())(w).item())
        return end(m, m.lif_c(m.ac(a) + m.bc(b))) + a.sum(2, keepdim=True)

    torch.manual_seed(0)
    network, x = Graph(flow, ("places", "tails"), torch.float64), spikes_in(torch.float64)
    found = []
    for backend in ("auto", "reference"):
        sg.nn.use_backend(network, backend)
        y, _ = network(x)
        used = [network.a.weight, network.b.weight, network.ac.weight]
        found.append([y, *torch.autograd.grad(y.square().sum(), used)])
    assert rates[:2] == pytest.approx(rates[2:])
    for mine, want in zip(*found, strict=True):
        assert torch.allclose(mine, want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("samples", [1, 3])
def test_a_current_of_a_padded_input_beside_packed_ones(samples: int) -> None:
    def flow(m: Any, x: Tensor) -> Any:
        a = m.lif_a(m.a(x))
        return end(m, m.lif_c(m.ac(a) + m.xc((x > 0.5).to(x.dtype))))

    torch.manual_seed(0)
    network = Graph(flow, ("places", "tails"), torch.float64)
    x, lengths = spikes_in(torch.float64)[:, :samples], torch.tensor([5, 9, 2])[:samples]
    y, _ = network(x, lengths=lengths)
    for sample, many in enumerate(lengths.tolist()):
        alone, _ = network(x[:many, sample : sample + 1])
        assert torch.allclose(y[:many, sample : sample + 1], alone, atol=1e-12)


def test_edges_side_by_side_are_made_once_and_again_after_a_change() -> None:
    torch.manual_seed(0)
    network = Sparse(two_signals, ("places", "tails"), torch.float64)
    x = spikes_in(torch.float64)
    network(x)
    with Seen() as seen:
        network(x)
    assert not [f for f, _ in seen.calls if f.name() == "spikegrad::are_edges"]
    starts, targets = network.ac.edges.starts, network.ac.edges.targets
    for first, end in pairwise(starts.tolist()):
        if first < end and targets[first] > 0:
            targets[first] -= 1  # they still rise within the source
    y, _ = network(x)
    sg.nn.use_backend(network, "reference")
    assert torch.allclose(network(x)[0], y, atol=1e-12)


def test_a_shape_makes_no_numbers() -> None:
    shapes: list[Any] = []

    def flow(m: Any, x: Tensor) -> Any:
        c = m.a(x)
        shapes.extend([c.shape, c.size(2), c.ndim, c.dim(), len(c), c.known])
        a = m.lif_a(c)
        shapes.extend([a.shape, a.size(), a.ndim, a.dim(), len(a), a.known])
        return end(m, m.lif_c(m.ac(a)))

    Graph(flow, ("places", "places"), torch.float32)(spikes_in(torch.float32))
    assert shapes == [(9, 35, 70), 70, 3, 3, 9, None, (9, 35, 70), (9, 35, 70), 3, 3, 9, None]


def test_functions_that_take_tensors_alone_say_what_to_pass() -> None:
    def flow(m: Any, x: Tensor) -> Any:
        return sg.functional.lif(m.lif_a(m.a(x)), beta=0.9)

    with pytest.raises(TypeError, match=r"pass a copy, x.clone\(\)"):
        Graph(flow, ("places", "places"), torch.float32)(spikes_in(torch.float32))


def test_explain_says_why_a_sum_is_several_calls() -> None:
    def flow(m: Any, x: Tensor) -> Any:
        a = m.lif_a(m.a(x))
        return end(m, m.lif_c(m.ac(a) + m.xc(0.3 * x)))

    rows = sg.diagnose.explain(
        Graph(flow, ("places",) * 2, torch.float32), spikes_in(torch.float32)
    )
    assert rows[1].reason == "one of 2 connections into a sum: a signal is no spikes"
    assert [row.advice for row in rows if row.layers == ("lif_c",)] == [""]
