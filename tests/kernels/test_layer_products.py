"""Which way a product goes changes the order of sums and nothing else.

Along the spikes or dense: bit for bit equal where no sum rounds (dyadic numbers), else to 1e-5 of
the largest value. Each test says which of the two it holds the kernels to.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from layers import BY_NAME, Setting, by_kernels, by_reference, compare, prepared
from native import forced, needs_kernels, poisoned, threads
from torch import Tensor

from spikegrad import functional as F
from spikegrad import surrogate as S
from spikegrad.kernels import cpu

pytestmark = needs_kernels

ROUTES = ["events", "dense"]
CASES = [name for name in BY_NAME if name != "li"]


def close(got: Tensor, want: Tensor, share: float) -> None:
    torch.testing.assert_close(got, want, rtol=0, atol=share * max(1e-30, float(want.abs().max())))


@pytest.mark.parametrize("backend", ["layer", "whole"])
@pytest.mark.parametrize("case", CASES)
def test_exact_numbers_are_equal_bit_for_bit_either_way(case: str, backend: str) -> None:
    """The boxcar's derivative is a power of two: gradients do not round either.

    Through feedback they need more than the 24 bits of a float32.
    """
    s = Setting(
        case=case,
        backend=backend,
        dtype=torch.float32 if backend == "layer" else torch.float64,
        shape=(4, 3, 70, 65),
        surrogate=S.boxcar(1.0),
        parameters="numbers",
    )
    with forced("events"), poisoned():
        one = by_kernels(s)
    with forced("dense"), poisoned():
        other = by_kernels(s)
    for a, b in zip(one.outputs, other.outputs, strict=True):
        assert a is None or torch.equal(a, b)
    for name, gradient in one.gradients.items():
        assert torch.equal(gradient, other.gradients[name]), name


@pytest.mark.parametrize("case", CASES)
def test_real_numbers_within_1e_5(case: str) -> None:
    """float32: spikes of the exact forward pass, then gradients that round in either order."""
    s = Setting(case=case, backend="layer", dtype=torch.float32, shape=(9, 20, 200, 130))
    with forced("events"):
        one = by_kernels(s)
    with forced("events", "dense"):
        other = by_kernels(s)
    for name, gradient in one.gradients.items():
        close(gradient, other.gradients[name], 1e-5)


@pytest.mark.parametrize("fed_back", [False, True])
@pytest.mark.parametrize("case", [*CASES, "li"])
def test_lean_is_full_bit_for_bit(case: str, fed_back: bool) -> None:
    if case == "li" and fed_back:
        pytest.skip("a leaky integrator has no spikes to feed back")
    for k, (x, refractory, route) in enumerate(
        [
            ("spikes", 0, "events"),
            ("real", 2, "dense"),
            ("static", 2, "events"),
            ("fixed", 0, "dense"),
        ]
    ):
        s = Setting(
            case=case,
            backend="whole" if fed_back else "layer",
            dtype=[torch.float32, torch.float64][k % 2],
            shape=(13, 300, 30, 70),  # segments of five steps
            refractory=0 if case == "li" else refractory,
            surrogate=S.triangle(1.0),
            x=x,
            exact=False,
            start=["given", "rest"][k // 2],
            parameters=["neuron", "layer", "numbers"][k % 3],
        )
        with forced(route), poisoned():
            full, lean = by_kernels(s), by_kernels(replace(s, lean=True))
        for a, b in zip(full.outputs, lean.outputs, strict=True):
            assert a is None or torch.equal(a, b)
        for name, gradient in full.gradients.items():
            assert torch.equal(gradient, lean.gradients[name]), (x, name)


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_many_segments(case: str, lean: bool) -> None:
    """Time is walked back in segments of 1,600 rows: here three, and many groups of rows."""
    for backend in ("layer", "whole", "feedback"):
        s = Setting(
            case=case, backend=backend, shape=(5, 700, 9, 66), exact=False, lean=lean,
            refractory=2, detach=False, parameters="neuron", slope="each",
        )  # fmt: skip
        with poisoned():
            compare(s, by_reference(s), by_kernels(s))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("surrogate", [S.triangle(1.0), S.boxcar(1.5), S.arctan(2.0)], ids=str)
@pytest.mark.parametrize("upper", ["lif", "alif", "li", None])
def test_spikes_passed_on(upper: str | None, surrogate: S.Surrogate, route: str) -> None:
    """The upper layer's input gradient is taken only where the lower surrogate reads it."""
    s = Setting(
        backend="layer", exact=False, surrogate=surrogate, parameters="neuron", slope="one",
        refractory=2, detach=False,
    )  # fmt: skip
    above = replace(s, case=upper or "lif", shape=(7, 3, 65, 90), seed=7, refractory=0)

    def run(native: bool) -> tuple[Tensor, list[Tensor]]:
        low, high = prepared(s, s.dtype), prepared(above, s.dtype)
        names = ("weight", "bias")
        if native:
            weights = {name: low.leaves[name] for name in names}
            spikes, _ = cpu.layer(
                low.x, low.state, **weights, neuron="lif", args=low.args, pass_on=True
            )
            assert isinstance(spikes, cpu.Spikes)
            assert (spikes.support is None) == (surrogate.name == "arctan")
            weights = {name: high.leaves[name] for name in names}
            if upper is None:
                y = cpu.linear(spikes, **weights)
            else:
                scan = BY_NAME[upper].scan.__name__
                y, _ = cpu.layer(spikes, high.state, **weights, neuron=scan, args=high.args)
        else:
            weights = {name: low.leaves[name] for name in names}
            spikes, _ = F.lif(F.linear(low.x, **weights), low.state, **low.args)
            y = F.linear(spikes, **{name: high.leaves[name] for name in names})
            if upper is not None:
                y, _ = BY_NAME[upper].scan(y, high.state, **high.args)
        leaves = [*low.leaves.values(), *(high.leaves[name] for name in names)]
        weight = torch.rand(y.shape, generator=torch.Generator().manual_seed(3), dtype=y.dtype)
        grads = torch.autograd.grad((y * weight).sum(), leaves, allow_unused=True)
        return y.detach(), [
            torch.zeros_like(leaf) if g is None else g
            for leaf, g in zip(leaves, grads, strict=True)
        ]

    with forced(route), poisoned():
        got, gradients = run(native=True)
    want, expected = run(native=False)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)
    for a, b in zip(gradients, expected, strict=True):
        close(a, b, 1e-10)


def test_the_sampled_gradient_is_the_dense_one_where_it_is_read() -> None:
    """And 0 elsewhere; dots run in another order, hence 1e-5 of the largest in float32."""
    torch.manual_seed(0)
    edge = torch.zeros(()).expand(9, 4, 130).requires_grad_()
    spikes = (torch.rand(9, 4, 130) < 0.2).float()
    support = torch.rand(9, 4, 130) < 0.3
    bits, _ = torch.ops.spikegrad.pack(spikes)
    word, _ = torch.ops.spikegrad.pack(support.float())
    weight = torch.randn(65, 130)
    incoming = torch.randn(9, 4, 65)
    for shares, share in (("events", 1e-5), ("dense", 1e-6)):
        with forced(shares), poisoned():
            y = cpu.linear(cpu.Spikes(edge, bits, word, 130), weight=weight)
            (got,) = torch.autograd.grad(y, edge, incoming)
        want = incoming @ weight
        close(got[support], want[support], share)
        if shares == "events":
            assert not got[~support].any()


def test_no_spike_and_all_spikes() -> None:
    for x in ("empty", "full"):
        for route in ROUTES:
            for n in (1, 64, 65):
                s = Setting(x=x, shape=(3, 2, n, n), dtype=torch.float32)
                with forced(route), poisoned():
                    compare(s, by_reference(s), by_kernels(s))


@pytest.mark.parametrize("outputs", [10, 33, 64, 130])
@pytest.mark.parametrize("rate", [0.005, 0.034, 0.036, 0.2])
def test_weight_gradients_of_few_and_of_many_spikes(rate: float, outputs: int) -> None:
    """Where few spike, chunks of rows are longer and strips of columns narrower."""
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(70, 9, 200, generator=generator) < rate).double()
    weight = torch.randn(outputs, 200, generator=generator).double().requires_grad_()
    bias = torch.randn(outputs, generator=generator).double().requires_grad_()
    feedback = torch.randn(outputs, outputs, generator=generator).double().requires_grad_()
    incoming = torch.randn(70, 9, outputs, generator=generator).double()
    weights = {"weight": weight, "bias": bias, "feedback": feedback}
    args = {"beta": 0.5, "threshold": 9 * rate**0.5, "surrogate": S.arctan(2.0)}

    def gradients() -> tuple[Tensor, ...]:
        y, _ = cpu.layer(x, neuron="lif", args=args, **weights)
        assert y.any()
        return torch.autograd.grad(y, list(weights.values()), incoming)

    with forced("dense"), poisoned():
        want = gradients()
    with forced("events"), poisoned():
        got = gradients()
    for a, b in zip(want, got, strict=True):
        close(b, a, 1e-10)


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("backend", ["current", "layer", "feedback", "whole"])
def test_a_users_own_surrogate(backend: str, lean: bool) -> None:
    S.register(
        "cosine_for_layers",
        lambda z: torch.where(z.abs() < 1, 0.5 * (1 + torch.cos(torch.pi * z)), 0.0),
        primitive=lambda z: torch.where(
            z.abs() < 1, 0.5 * (1 + z + torch.sin(torch.pi * z) / torch.pi), (z > 0).to(z.dtype)
        ),
        support=1.0,
        kinks=(-1.0, 1.0),
        source="test",
    )
    try:
        for case in CASES:
            for parameters, shape in (("neuron", (7, 3, 20, 65)), ("numbers", (3, 700, 5, 3))):
                s = Setting(
                    case=case,
                    backend=backend,
                    lean=lean,
                    shape=shape,
                    exact=False,
                    surrogate=S.get("cosine_for_layers", slope=1.5),
                    parameters=parameters,
                    refractory=2,
                )
                with poisoned():
                    compare(s, by_reference(s), by_kernels(s))
    finally:
        S.unregister("cosine_for_layers")


def test_a_users_own_surrogate_with_a_learned_slope() -> None:
    """A learned slope of a user's surrogate, on every neuron and feedback."""
    S.register(
        "parabola_for_layers",
        lambda z: torch.clamp(1 - z * z, min=0) * 0.75,
        primitive=lambda z: 0.5 + 0.75 * (z.clamp(-1, 1) - z.clamp(-1, 1) ** 3 / 3),
        support=1.0,
        kinks=(-1.0, 1.0),
        source="test",
    )
    try:
        for backend in ("scan", "layer", "whole"):
            for slope in ("one", "each"):
                own = S.get("parabola_for_layers", slope=1.5)
                s = Setting(backend=backend, exact=False, surrogate=own, slope=slope)
                compare(s, by_reference(s), by_kernels(s))
    finally:
        S.unregister("parabola_for_layers")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_bit_identical_for_any_number_of_threads(count: int) -> None:
    for backend, route in [("layer", "events"), ("whole", "events"), ("layer", "dense")]:
        s = Setting(
            backend=backend, shape=(20, 40, 150, 200), exact=False, dtype=torch.float32,
            x="fixed" if route == "dense" else "spikes",
        )  # fmt: skip
        with forced(route if route == "events" else "events", route):
            with threads(1):
                want = by_kernels(s)
            with threads(count):
                got = by_kernels(s)
        for a, b in zip(want.outputs, got.outputs, strict=True):
            assert a is None or torch.equal(a, b)
        ours = want.gradients.keys() - ({"weight", "x"} if route == "dense" else {"x"})
        for name in ours:  # products of torch's own may depend on threads
            assert torch.equal(want.gradients[name], got.gradients[name]), name


CHAINS = {
    "lif": {"beta": 0.5, "threshold": 0.5, "reset": "subtract", "detach_reset": False},
    "integrate_and_fire": {"threshold": 1.0, "reset": "zero", "v_reset": 1 / 8},
    "alif": {"beta": 0.5, "rho": 0.5, "kappa": 0.25, "threshold": 0.5, "refractory": 1},
}


@pytest.mark.parametrize("incoming", ["over time", "random"])
@pytest.mark.parametrize("route", ["events", "dense"])
@pytest.mark.parametrize("size", [(3, 33, 70), (5, 100, 129), (40, 70, 64)])
@pytest.mark.parametrize("scan", CHAINS)
def test_gradients_at_places_alone_are_those_of_the_reference(
    scan: str, size: tuple[int, int, int], route: str, incoming: str
) -> None:
    """From a readout to the first weight, over groups of 32 samples and segments of 1,600 rows."""
    steps, batch, n = size
    g = torch.Generator().manual_seed(3)
    args = {**CHAINS[scan], "surrogate": S.triangle(1.0)}

    def dyadic(*shape: int) -> torch.Tensor:
        value = torch.randint(-24, 36, shape, generator=g) / 64
        return value.double().requires_grad_()

    x = (torch.rand(steps, batch, 20, generator=g) < 0.3).double()
    first, second, third = dyadic(n, 20), dyadic(65, n), dyadic(3, 65)
    weight = torch.rand(batch, 3, generator=g).double().expand(steps, batch, 3)
    weight = weight if incoming == "over time" else weight * torch.rand(steps, 1, 1).double()
    leaves = [first, second, third]

    neuron = getattr(F, scan)
    s, _ = neuron(F.linear(x, weight=first), **args)
    s, _ = neuron(F.linear(s, weight=second), **args)
    want = torch.autograd.grad((F.linear(s, weight=third) * weight).sum(), leaves)
    with forced(route), poisoned():
        fast, _ = cpu.layer(x, weight=first, neuron=scan, args=args, pass_on=True)
        assert fast.edge.dim() == 1
        fast, _ = cpu.layer(fast, weight=second, neuron=scan, args=args, pass_on=True)
        assert 0 < fast.edge.numel() < s.numel()
        got = torch.autograd.grad((cpu.linear(fast, weight=third) * weight).sum(), leaves)
    for a, b in zip(want, got, strict=True):
        assert a.any()
        close(b, a, 1e-10)


def test_spikes_of_one_layer_may_be_read_twice() -> None:
    """Gradients of both readers add up, at places and steady ones."""
    x = (torch.rand(6, 40, 30) < 0.3).double()
    weight = torch.randn(70, 30, dtype=torch.float64, requires_grad=True)
    readers = [torch.randn(n, 70, dtype=torch.float64) for n in (5, 9)]
    args = {"beta": 0.5, "surrogate": S.triangle(1.0)}
    incoming = torch.rand(6, 40, 9, dtype=torch.float64)

    def loss(spikes, linear) -> torch.Tensor:
        return (
            linear(spikes, weight=readers[0]).mean()
            + (linear(spikes, weight=readers[1]) * incoming).sum()
        )

    s, _ = F.lif(F.linear(x, weight=weight), **args)
    (want,) = torch.autograd.grad(loss(s, F.linear), weight)
    fast, _ = cpu.layer(x, weight=weight, neuron="lif", args=args, pass_on=True)
    (got,) = torch.autograd.grad(loss(fast, cpu.linear), weight)
    close(got, want, 1e-10)
