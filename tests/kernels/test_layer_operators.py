"""What torch expects of the operators of a layer, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from layers import Setting, by_kernels
from native import CHECKS, Seen, detached, forced, needs_kernels, same_layout

from spikegrad.errors import UserError
from spikegrad.kernels import cpu
from spikegrad.types import LIFState, RecurrentState

pytestmark = needs_kernels

SETTINGS = [
    Setting(),
    Setting(case="cuba", backend="whole", refractory=2, slope="each", parameters="neuron"),
    Setting(case="alif", lean=True, x="static", dtype=torch.float32),
    Setting(case="alif", backend="feedback", lean=True, shape=(4, 900, 3, 3)),
    Setting(case="li", x="real", parameters="numbers"),
    Setting(backend="current", x="static leaf", start="rest"),
    Setting(shape=(1, 1, 1, 1)),
]


@pytest.mark.parametrize("route", ["events", "dense"])
@pytest.mark.parametrize("s", SETTINGS, ids=lambda s: f"{s.case}-{s.backend}-{s.x}")
def test_operators_pass_opcheck(s: Setting, route: str) -> None:
    with forced(route), Seen() as seen:
        by_kernels(s)
    names = [function.name() for function, _ in seen.calls]
    assert names == ["spikegrad::layer", "spikegrad::layer_backward"]
    for function, args in seen.calls:
        torch.library.opcheck(function, detached(args), test_utils=CHECKS)


@pytest.mark.parametrize("incoming", ["sum", "over time", "random"])
@pytest.mark.parametrize("x", ["spikes", "static", "real"])
def test_a_connection_alone_passes_opcheck(x: str, incoming: str) -> None:
    rows = (torch.rand(5, 3, 70) < 0.2).float() if x != "real" else torch.rand(5, 3, 70)
    seen_x = rows[0].expand(5, 3, 70) if x == "static" else rows.requires_grad_()
    weight = torch.randn(65, 70, requires_grad=True)
    with forced("events"), Seen() as seen:
        y = cpu.linear(seen_x, weight=weight)
        gradient = {
            "sum": torch.ones(()).expand(y.shape),
            "over time": torch.rand(3, 65).expand(y.shape),
            "random": torch.rand(y.shape),
        }[incoming]
        y.backward(gradient)
    assert len(seen.calls) == (2 if incoming != "random" else 3)
    for function, args in seen.calls:
        torch.library.opcheck(function, detached(args), test_utils=CHECKS)
        if function.name() != "spikegrad::same_every_step":
            assert same_layout(function, args)


def test_passing_on_passes_opcheck() -> None:
    x = (torch.rand(5, 3, 70) < 0.2).float().requires_grad_()
    with Seen() as seen:
        spikes, _ = cpu.layer(
            x, weight=torch.randn(65, 70), neuron="lif", args={"beta": 0.5}, pass_on=True
        )
        cpu.linear(spikes, weight=torch.randn(9, 65)).sum().backward()
    assert len(seen.calls) == 4
    for function, args in seen.calls:
        torch.library.opcheck(function, detached(args), test_utils=CHECKS)


@pytest.mark.parametrize("backend", ["layer", "whole", "feedback"])
def test_a_second_backward_is_refused(backend: str) -> None:
    x = torch.rand(4, 2, 3, requires_grad=True)
    weight = torch.randn(3, 3, requires_grad=True)
    weights = {"weight": None if backend == "feedback" else weight}
    if backend != "layer":
        weights["feedback"] = weight
    y, _ = cpu.layer(x, **weights, neuron="lif", args={"beta": 0.5})
    (first,) = torch.autograd.grad(y.sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="backend='reference'"):
        torch.autograd.grad(first.sum(), x)


def test_wrong_shapes_are_refused_with_words() -> None:
    x, weight = torch.rand(4, 2, 3), torch.rand(5, 3)
    args = {"beta": 0.5}

    def call(x=x, state=None, **more: Any) -> None:
        cpu.layer(x, state, **{"weight": weight, "neuron": "lif", "args": args, **more})

    for more, words in [
        ({"weight": torch.rand(5, 4)}, r"the weight must be"),
        ({"weight": torch.rand(5, 3).double()}, r"the weight must be"),
        ({"bias": torch.rand(4)}, r"the bias must be \[N\]"),
        ({"bias": torch.rand(5).double()}, r"the bias must be \[N\]"),
        ({"feedback": torch.rand(5, 4)}, r"the feedback must be"),
        ({"feedback": torch.rand(4, 4)}, r"the feedback must be"),
        ({"x": torch.rand(4, 2, 3, 3)}, r"\[T, B, I\]"),
    ]:
        with pytest.raises((RuntimeError, UserError), match=words):
            call(**more)
    for more in (
        {"state": LIFState(torch.zeros(2, 4))},
        {"state": LIFState(torch.zeros(3, 5))},
        {"state": LIFState(torch.zeros(2, 5).double())},
        {"state": RecurrentState(None, torch.zeros(2, 4)), "feedback": torch.rand(5, 5)},
        {"args": {"beta": torch.rand(4)}},
        {"args": {"beta": 0.5, "reset": "no"}},
    ):
        with pytest.raises((UserError, TypeError), match=r"expected|unknown"):
            call(**more)


def test_sizes_beyond_what_is_counted_are_refused() -> None:
    """Without memory for them: one step, seen 2^41 times."""
    for steps, batch in ((2**41, 1), (2**30, 2**11)):
        x = torch.zeros(1).expand(steps, batch, 1)
        with pytest.raises(RuntimeError, match="sizes beyond"):
            cpu.layer(x, weight=torch.zeros(1, 1), neuron="lif", args={"beta": 0.5})


def test_bits_of_the_wrong_size_are_refused() -> None:
    edge = torch.zeros(()).expand(4, 2, 70)
    good = torch.zeros(4, 2, 2, dtype=torch.int64)
    weight = torch.rand(5, 70)
    assert cpu.linear(cpu.Spikes(edge, good, good, 70), weight=weight).shape == (4, 2, 5)
    for bits, support in [(good[..., :1], None), (good, good[:3]), (good.int(), None)]:
        with pytest.raises(RuntimeError, match="bits must be"):
            cpu.linear(cpu.Spikes(edge, bits, support, 70), weight=weight)


def test_a_connection_alone_refuses_what_it_cannot_read() -> None:
    linear, backward = torch.ops.spikegrad.linear, torch.ops.spikegrad.linear_backward
    x, weight, shares = torch.rand(4, 2, 70), torch.rand(5, 70), [0.5, 0.5, 0.5]
    y, bits, choice = linear(x, None, None, weight, None, shares, None)
    for wrong, words in [
        ((x[0].expand(4, 2, 70), None, None, weight, None), "x must be contiguous"),
        ((x.half(), None, None, weight.half(), None), "float32 or float64"),
        ((x, None, None, weight.double(), None), "the weight must be"),
        ((x, None, None, weight[:, 1:], None), "the weight must be"),
        ((x, None, None, weight, torch.rand(4)), r"the bias must be \[N\]"),
        ((x, bits[:3], None, weight, None), "bits must be"),
        ((x[0, 0], bits, None, weight, None), r"x must be \[T, B, I\]"),
    ]:
        with pytest.raises(RuntimeError, match=words):
            linear(*wrong, shares, None)
    with pytest.raises(RuntimeError, match="three crossovers"):
        linear(x, None, None, weight, None, [0.5], None)
    for gradient in (y[:3], y[..., 1:], y[0], y.double()):
        with pytest.raises(RuntimeError, match=r"the gradient must be \[T, B, N\]"):
            backward(gradient, x, bits, None, weight, choice, True, True, False, shares)
    for wrong in (choice[:2], choice.int(), choice[None]):
        with pytest.raises(RuntimeError, match="four int64"):
            backward(y, x, bits, None, weight, wrong, True, True, False, shares)
    places = torch.zeros(3), bits, bits, weight, torch.tensor([0, -1, -1, 1])
    with pytest.raises(RuntimeError, match="is spikes"):
        backward(y, *places, True, True, False, shares)


def test_a_layer_keeps_nothing_without_gradients() -> None:
    x, weight = (torch.rand(9, 2, 30) < 0.2).float(), torch.randn(20, 30, requires_grad=True)
    with torch.no_grad():
        y, end = cpu.layer(x, weight=weight, neuron="lif", args={"beta": 0.5})
    assert not y.requires_grad
    assert not end.v.requires_grad
    z, after = cpu.layer(x, weight=weight, neuron="lif", args={"beta": 0.5})
    assert z.requires_grad
    assert torch.equal(y, z)
    assert torch.equal(end.v, after.v)
