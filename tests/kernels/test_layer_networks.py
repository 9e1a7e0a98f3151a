"""Networks whose layers run as one call, against the same with backend="reference"."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from native import forced, needs_kernels, poisoned
from torch import Tensor, nn

import spikegrad as sg
from spikegrad import surrogate as S
from spikegrad.kernels import Choice, choose_layer
from spikegrad.nn import use_backend
from spikegrad.nn.fuse import Block, block_at
from spikegrad.types import map_state

pytestmark = needs_kernels

ROUTES = ["events", "dense"]


def spikes(t: int = 9, b: int = 3, n: int = 40, rate: float = 0.3) -> Tensor:
    return (torch.rand(t, b, n, generator=torch.Generator().manual_seed(0)) < rate).double()


NETWORKS: dict[str, Any] = {
    "two": lambda: [
        sg.Linear(40, 70), sg.LIF(8.0, surrogate=S.triangle(1.0), learn=("threshold", "tau_mem")),
        sg.Linear(70, 33), sg.LIF(5.0, surrogate=S.boxcar(0.8), learn="slope"),
    ],
    "readout": lambda: [
        sg.Linear(40, 70), sg.CUBALIF(4.0, 8.0, learn=("tau_mem", "tau_syn"), size=70),
        sg.Linear(70, 10), sg.LI(20.0, learn="tau_mem"),
    ],
    "adaptive": lambda: [
        sg.Linear(40, 65, bias=False), sg.ALIF(8.0, tau_adapt=20.0, surrogate=S.triangle(0.7)),
        sg.Linear(65, 20), sg.IF(refractory=2.0, reset="zero", learn="v_reset"),
    ],
    "recurrent": lambda: [
        sg.Linear(40, 66),
        sg.Recurrent(sg.LIF(8.0, surrogate=S.triangle(1.0), detach_reset=False), 66),
        sg.Linear(66, 20), sg.Recurrent(sg.CUBALIF(4.0, 8.0, refractory=1.0), 20),
        sg.Linear(20, 5), sg.LI(20.0),
    ],
    "connections": lambda: [sg.Linear(40, 30), sg.LIF(8.0), sg.Linear(30, 20), sg.Linear(20, 5)],
    "between": lambda: [
        sg.Linear(40, 30), sg.LIF(8.0, surrogate=S.triangle(1.0)), nn.Dropout(0.0),
        sg.Linear(30, 20), sg.LIF(8.0), nn.Flatten(), sg.Linear(20, 5), sg.LI(20.0),
    ],
}  # fmt: skip


def made(name: str) -> tuple[sg.Sequential, sg.Sequential]:
    """A network and its twin on the reference, in float64."""
    torch.manual_seed(1)
    fast = sg.Sequential(*NETWORKS[name]()).double()
    with torch.no_grad():
        for layer in fast.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(2.0)  # default weights keep some layers silent
    slow = copy.deepcopy(fast)
    use_backend(slow, "reference")
    return fast, slow


def run(network: sg.Sequential, x: Tensor, states: Any = None) -> tuple[Tensor, Any, list[Tensor]]:
    leaf = x.clone().requires_grad_()
    y, after = network(leaf, states)
    g = torch.Generator().manual_seed(2)
    loss = (y * torch.rand(y.shape, generator=g, dtype=y.dtype)).sum()
    return y, after, list(torch.autograd.grad(loss, [leaf, *network.parameters()]))


def same(got: Any, want: Any) -> None:
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("route", [*ROUTES, None])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_equal_the_reference(name: str, route: str | None, lean: bool) -> None:
    fast, slow = made(name)
    use_backend(fast, lean=lean)
    assert isinstance(block_at(list(fast), 0, spikes()), Block)
    want, _, expected = run(slow, spikes())
    assert want.any()
    with forced(route), poisoned():
        got, _, gradients = run(fast, spikes())
    same(got, want)
    same(gradients, expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_chunks_equal_the_whole(name: str) -> None:
    fast, _ = made(name)
    x = spikes(11)
    whole, end, _ = run(fast, x)
    first, states = fast(x[:4])
    second, states = fast(x[4:5], states)
    third, states = fast(x[5:], states)
    same(torch.cat([first, second, third]), whole)
    same(*(tensors(state) for state in (states, end)))
    y = torch.cat([first, second, third])
    g = torch.Generator().manual_seed(2)
    loss = (y * torch.rand(y.shape, generator=g, dtype=y.dtype)).sum()
    grads = torch.autograd.grad(loss, list(fast.parameters()))
    same(list(grads), run(fast, x)[2][1:])


def tensors(state: Any) -> list[Tensor]:
    seen: list[Tensor] = []
    map_state(lambda t: seen.append(t) or t, state)
    return seen


@pytest.mark.parametrize("x", ["static", "real"])
@pytest.mark.parametrize("name", ["two", "recurrent"])
def test_other_inputs(name: str, x: str) -> None:
    fast, slow = made(name)
    g = torch.Generator().manual_seed(4)
    real = torch.rand(9, 3, 40, generator=g, dtype=torch.float64)
    seen = real[0].expand(9, 3, 40) if x == "static" else real

    def outcome(network: sg.Sequential) -> list[Tensor]:
        y, _ = network(seen)
        return [y, *torch.autograd.grad(y.square().sum(), list(network.parameters()))]

    with poisoned():
        got = outcome(fast)
    same(got, outcome(slow))


def test_a_layer_that_is_watched_runs_by_itself() -> None:
    fast, slow = made("two")
    seen: dict[str, list[Tensor]] = {}

    def watch(name: str, network: sg.Sequential) -> None:
        seen[name] = []
        network[1].register_forward_hook(lambda m, args, out: seen[name].append(out[0]))

    watch("fast", fast)
    watch("slow", slow)
    for network in (fast, slow):
        y, _ = network(spikes())
        seen["fast" if network is fast else "slow"][0].retain_grad()
        y.square().sum().backward()
    a, b = seen["fast"][0], seen["slow"][0]
    assert a.any()
    assert torch.equal(a, b)
    same(a.grad, b.grad)  # the whole gradient, also where the surrogate is 0
    for p, q in zip(fast.parameters(), slow.parameters(), strict=True):
        same(p.grad, q.grad)


@pytest.mark.parametrize("kind", ["forward", "pre", "backward"])
def test_hooks_on_any_layer_still_run(kind: str) -> None:
    for at in range(4):
        fast, _ = made("two")
        calls = []
        layer = fast[at]
        if kind == "forward":
            layer.register_forward_hook(lambda *a, calls=calls: calls.append(1))
        elif kind == "pre":
            layer.register_forward_pre_hook(lambda *a, calls=calls: calls.append(1))
        else:
            layer.register_full_backward_hook(lambda *a, calls=calls: calls.append(1))
        y, _ = fast(spikes().requires_grad_())
        y.sum().backward()
        assert calls == [1], (at, kind)


@pytest.mark.parametrize("membrane", [True, False])
@pytest.mark.parametrize("name", ["two", "readout", "recurrent"])
def test_recording(name: str, membrane: bool) -> None:
    fast, slow = made(name)
    tapes = []
    for network in (fast, slow):
        with sg.record(network, membrane=membrane) as tape:
            y, _ = network(spikes())
        tapes.append((y, tape))
    (y, one), (z, other) = tapes
    same(y, z)
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key].spikes, other[key].spikes) or not one[key].distance
        if membrane:
            same(one[key].membrane, other[key].membrane)
    last = list(one)[-2 if name != "two" else -1]
    g1 = torch.autograd.grad(one[last].spikes.sum(), next(fast.parameters()))[0]
    g2 = torch.autograd.grad(other[last].spikes.sum(), next(slow.parameters()))[0]
    same(g1, g2)


@pytest.mark.parametrize("kind", ["soft", "reference", "float16", "bfloat16", "autocast", "func"])
def test_what_only_the_reference_does_still_runs(kind: str) -> None:
    torch.manual_seed(0)
    surrogate = S.triangle(1.0).soft() if kind == "soft" else S.triangle(1.0)
    network = sg.Sequential(
        sg.Linear(40, 20), sg.LIF(5.0, surrogate=surrogate), sg.Linear(20, 5), sg.LI(20.0)
    )
    x = spikes().float()
    if kind == "reference":
        use_backend(network, "reference")
    twin = copy.deepcopy(network)
    use_backend(twin, "reference")
    if kind in ("float16", "bfloat16"):
        dtype = getattr(torch, kind)
        network, twin, x = network.to(dtype), twin.to(dtype), x.to(dtype)
    if kind == "func":
        return per_sample(network, twin, x)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "autocast")
    with forced("dense"), autocast:  # along the spikes sums run in another order
        why = block_at(list(network), 0, x)
        assert isinstance(why, str)
        y, _ = network(x)
        z, _ = twin(x)
    assert y.dtype == z.dtype
    assert torch.equal(y, z)
    y.float().sum().backward()
    z.float().sum().backward()
    for p, q in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    return None


def per_sample(network: sg.Sequential, twin: sg.Sequential, x: Tensor) -> None:
    """Gradients of every sample by `torch.func` against a loop over samples."""
    parameters = dict(network.named_parameters())

    def loss(parameters: dict[str, Tensor], one: Tensor) -> Tensor:
        y, _ = torch.func.functional_call(network, parameters, (one.unsqueeze(1),))
        return y.square().sum()

    every = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 1))(parameters, x)
    for b in range(x.shape[1]):
        y, _ = twin(x[:, b : b + 1])
        want = torch.autograd.grad(y.square().sum(), list(twin.parameters()))
        for name, w in zip(parameters, want, strict=True):
            torch.testing.assert_close(every[name][b], w)


def test_compiled_networks_run() -> None:
    """`torch.compile` traces the reference; the eager backend needs no compiler."""
    fast, slow = made("two")
    compiled = torch.compile(fast, backend="eager")
    same(compiled(spikes())[0], slow(spikes())[0])


def test_a_second_backward_is_refused_and_the_reference_does_it() -> None:
    fast, slow = made("two")
    for network in (fast, slow):
        x = spikes().requires_grad_()
        y, _ = network(x)
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        if network is fast:
            with pytest.raises(RuntimeError, match="backend='reference'"):
                torch.autograd.grad(first.sum(), x)
        else:
            torch.autograd.grad(first.sum(), x)


def test_without_gradients_the_same() -> None:
    for name in NETWORKS:
        fast, slow = made(name)
        fast.eval()
        slow.eval()
        with torch.no_grad(), poisoned():
            same(fast(spikes())[0], slow(spikes())[0])
        with torch.inference_mode(), poisoned():
            same(fast(spikes())[0], slow(spikes())[0])


def test_frozen_weights() -> None:
    """Only what asks for a gradient gets one, whichever that is."""
    for frozen in range(len(list(made("recurrent")[0].parameters()))):
        fast, slow = made("recurrent")
        grads = []
        for network in (fast, slow):
            parameters = list(network.parameters())
            for k, p in enumerate(parameters):
                p.requires_grad_(k != frozen)
            y, _ = network(spikes())
            asked = [p for p in parameters if p.requires_grad]
            grads.append(list(torch.autograd.grad(y.square().sum(), asked)))
        same(*grads)


def test_why_there_is_no_block() -> None:
    x, weight = spikes(), torch.rand(3, 40, dtype=torch.float64)
    choice = choose_layer(x, weight, "lif", S.triangle(), ("auto", "auto"))
    assert isinstance(choice, Choice)
    assert choice.backend == "cpu"
    assert "two backends" in choose_layer(x, weight, "lif", S.triangle(), ("cpu", "triton"))
    assert "by name" in choose_layer(x, weight, "lif", S.triangle(), ("auto", "reference"))
    assert "soft" in choose_layer(x, weight, "lif", S.triangle().soft(), ("auto",))
    assert "torch computes products of" in choose_layer(
        x.half(), weight.half(), "lif", S.triangle(), ("auto",)
    )
    assert "meta" in choose_layer(x.to("meta"), weight, "lif", S.triangle(), ("auto",))
    with pytest.raises(sg.UserError, match="expected Linear's input"):
        made("two")[0](spikes(n=41))
    with pytest.raises(sg.UserError, match=r"finite|NaN"):
        made("two")[0](torch.full((3, 2, 40), float("nan"), dtype=torch.float64))


@pytest.mark.parametrize("own_slope", [False, True])
def test_a_users_surrogate_with_and_without_feedback(own_slope: bool) -> None:
    S.register(
        "parabola_for_networks",
        lambda z: torch.clamp(1 - z * z, min=0) * 0.75,
        primitive=lambda z: 0.5 + 0.75 * (z.clamp(-1, 1) - z.clamp(-1, 1) ** 3 / 3),
        support=1.0,
        kinks=(-1.0, 1.0),
        source="test",
    )
    try:
        learn = ("slope",) if own_slope else ()
        own = S.get("parabola_for_networks", slope=0.8)
        torch.manual_seed(1)
        fast = sg.Sequential(
            sg.Linear(40, 66), sg.LIF(8.0, surrogate=own, learn=learn), sg.Linear(66, 70),
            sg.Recurrent(sg.ALIF(8.0, tau_adapt=20.0, surrogate=own, learn=learn), 70),
            sg.Linear(70, 5), sg.LI(20.0),
        ).double()  # fmt: skip
        slow = copy.deepcopy(fast)
        use_backend(slow, "reference")
        want, _, expected = run(slow, spikes())
        for lean in (False, True):
            use_backend(fast, lean=lean)
            got, _, gradients = run(fast, spikes())
            same(got, want)
            same(gradients, expected)
    finally:
        S.unregister("parabola_for_networks")
