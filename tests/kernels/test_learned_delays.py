"""Connections with learned delays, whose taps the kernel makes where it reads them, give what the
specification gives with taps made before.

With interpolation and dyadic numbers no sum rounds, and results are equal to the last bit; taps of
Gaussians are not, and are compared to a tolerance.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from delayed import SIGMA, as_bits, delays, drawn, edges_of, input_of, taps_of
from native import CHECKS, needs_kernels, poisoned, threads
from torch import Tensor

import spikegrad as sg
from spikegrad import functional as F
from spikegrad import kernels
from spikegrad.errors import UserError
from spikegrad.kernels import cpu
from spikegrad.types import Edges, LearnedDelays, PendingState

pytestmark = needs_kernels
TYPES = {"float32": torch.float32, "float64": torch.float64}
KINDS = ("interpolation", "narrow", "wide")
SHAPES = {
    "some": (9, 3, 70, 65, 6),
    "one step": (1, 1, 130, 70, 25),
    "shorter than the delays": (4, 9, 64, 3, 11),
    "longer": (90, 10, 33, 17, 5),
    "one neuron": (40, 1, 1, 1, 1),
    "groups of samples": (90, 75, 120, 9, 4),
}
"""T, B, I, N and the longest delay."""


def learned_of(kind: str, weight: Tensor, delay: Tensor, most: int) -> LearnedDelays:
    return LearnedDelays(weight, delay, most, SIGMA.get(kind))


def case(
    shape: str, dtype: torch.dtype, sparse: bool = False, x: str = "spikes"
) -> tuple[dict[str, Tensor], dict[str, Tensor], Edges | None]:
    """Leaves, the gradients that come in, and the edges."""
    steps, batch, inputs, outputs, most = SHAPES[shape]
    edges = edges_of(inputs, outputs) if sparse else None
    size = (outputs, inputs) if edges is None else tuple(edges.targets.shape)
    leaves = {
        "x": input_of(x, (steps, batch, inputs), dtype),
        "weight": drawn(3, size, dtype),
        "delay": delays(4, size, dtype, most),
        "bias": drawn(5, (outputs,), dtype),
        "current": drawn(6, (batch, most, outputs), dtype),
    }
    g = {
        "y": drawn(7, (steps, batch, outputs), dtype),
        "left": drawn(8, (batch, most, outputs), dtype),
    }
    return leaves, g, edges


def outcome(
    run: Any, make: Any, kind: str, made: Any, *, state: bool = True, wanted: Any = None
) -> dict[str, Tensor]:
    """Currents, what is on its way, and the gradients of the leaves."""
    leaves, g, edges = made
    names = [name for name in leaves if wanted is None or name in wanted]
    leaves = {name: leaf.clone().requires_grad_(name in names) for name, leaf in leaves.items()}
    taps = make(kind, leaves["weight"], leaves["delay"], leaves["current"].shape[1])
    before = PendingState(leaves["current"]) if state else None
    y, after = run(leaves["x"], before, taps=taps, bias=leaves["bias"], edges=edges)
    value = (y * g["y"]).sum() + (after.current * g["left"]).sum()
    found = torch.autograd.grad(value, [leaves[name] for name in names], allow_unused=True)
    pairs = {name: d for name, d in zip(names, found, strict=True) if d is not None}
    return {"y": y.detach(), "after": after.current.detach(), **pairs}


def same(found: dict[str, Tensor], want: dict[str, Tensor], kind: str, dtype: torch.dtype) -> None:
    assert found.keys() == want.keys()
    for name in want:
        if kind == "interpolation":
            assert torch.equal(found[name], want[name]), name
        else:
            tolerance = 1e-4 if dtype == torch.float32 else 1e-11
            assert torch.allclose(found[name], want[name], tolerance, 10 * tolerance), name


@pytest.mark.parametrize("x", ["spikes", "numbers", "zeros"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TYPES)
def test_a_product(dtype: str, kind: str, shape: str, sparse: bool, x: str) -> None:
    made = case(shape, TYPES[dtype], sparse, x)
    with poisoned():
        found = outcome(cpu.delayed_linear, learned_of, kind, made)
    want = outcome(F.delayed_linear, taps_of, kind, made)
    assert "delay" in want
    same(found, want, kind, TYPES[dtype])
    assert float(want["y"].abs().sum()) > 0


@pytest.mark.parametrize("form", ["numbers", "everywhere", "places"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_spikes_as_bits(kind: str, shape: str, sparse: bool, form: str) -> None:
    made = case(shape, torch.float64, sparse)
    spikes = as_bits(made[0]["x"], form)
    edge = spikes.edge.detach().requires_grad_()

    def from_bits(x: Tensor, *args: Any, **how: Any) -> Any:
        y, after = cpu.delayed_linear(spikes._replace(edge=edge), *args, **how)
        return y + 0 * x.sum(), after

    numbers = torch.ops.spikegrad.unpack(spikes.bits, spikes.whole, spikes.columns)
    made[0]["x"] = numbers
    with poisoned():
        found = outcome(from_bits, learned_of, kind, made)
    want = outcome(F.delayed_linear, taps_of, kind, made)
    leaves, g, edges = made
    taps = learned_of(kind, leaves["weight"], leaves["delay"], leaves["current"].shape[1])
    state = PendingState(leaves["current"])
    y, after = cpu.delayed_linear(spikes._replace(edge=edge), state, taps=taps, edges=edges)
    (found["x"],) = torch.autograd.grad(
        (y * g["y"]).sum() + (after.current * g["left"]).sum(), edge
    )
    if form == "places":
        want["x"] = torch.ops.spikegrad.take_places(want["x"].contiguous(), spikes.support)
    same(found, want, kind, torch.float64)


@pytest.mark.parametrize("wanted", [("x",), ("weight",), ("delay",), ("current",), ("bias",)])
def test_one_gradient_alone(wanted: tuple[str, ...]) -> None:
    for kind in KINDS:
        made = case("some", torch.float64)
        found = outcome(cpu.delayed_linear, learned_of, kind, made, wanted=wanted)
        want = outcome(F.delayed_linear, taps_of, kind, made, wanted=wanted)
        same(found, want, kind, torch.float64)


def test_from_rest_and_where_only_what_is_left_counts() -> None:
    for zero in (None, "y", "left"):
        leaves, g, edges = case("shorter than the delays", torch.float64)
        made = (leaves, g if zero is None else g | {zero: torch.zeros_like(g[zero])}, edges)
        found = outcome(cpu.delayed_linear, learned_of, "interpolation", made, state=False)
        want = outcome(F.delayed_linear, taps_of, "interpolation", made, state=False)
        assert "current" not in want
        same(found, want, "interpolation", torch.float64)
    leaves, g, _ = case("shorter than the delays", torch.float64)
    outcomes = []
    for run, make in ((cpu.delayed_linear, learned_of), (F.delayed_linear, taps_of)):
        mine = {name: leaf.clone().requires_grad_() for name, leaf in leaves.items()}
        taps = make("interpolation", mine["weight"], mine["delay"], 11)
        _, after = run(mine["x"], PendingState(mine["current"]), taps=taps)
        wanted = [mine[name] for name in ("x", "weight", "delay", "current")]
        outcomes.append(torch.autograd.grad(after.current, wanted, g["left"]))
    for found, want in zip(*outcomes, strict=True):
        assert torch.equal(found, want)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("kind", KINDS)
def test_results_do_not_depend_on_threads(kind: str, sparse: bool) -> None:
    for shape in ("one step", "longer", "groups of samples"):
        made = case(shape, torch.float32, sparse, "numbers")
        with threads(1):
            one = outcome(cpu.delayed_linear, learned_of, kind, made)
        with threads(3):
            three = outcome(cpu.delayed_linear, learned_of, kind, made)
        for name in one:
            assert torch.equal(one[name], three[name]), name


@pytest.mark.parametrize("cuts", [(1,), (30, 60), tuple(range(1, 90))])
def test_chunks_are_the_whole_with_their_gradients(cuts: tuple[int, ...]) -> None:
    made = case("longer", torch.float64)

    def in_chunks(x: Tensor, state: PendingState | None, **how: Any) -> Any:
        parts = []
        for part in torch.tensor_split(x, cuts):
            y, state = cpu.delayed_linear(part, state, **how)
            parts.append(y)
        return torch.cat(parts), state

    whole = outcome(cpu.delayed_linear, learned_of, "interpolation", made)
    same(
        outcome(in_chunks, learned_of, "interpolation", made), whole, "interpolation", torch.float64
    )


def test_delays_at_whole_steps_and_narrow_gaussians() -> None:
    """Where all taps but one are 0, and at both ends of the range."""
    leaves, _, _ = case("some", torch.float64)
    leaves["delay"] = leaves["delay"].round()
    for sigma in (1e-3, 0.05):
        taps = F.gaussian_taps(leaves["weight"], leaves["delay"], most=6, sigma=sigma)
        want, _ = F.delayed_linear(leaves["x"], taps=taps)
        learned = LearnedDelays(leaves["weight"], leaves["delay"], 6, sigma)
        found, _ = cpu.delayed_linear(leaves["x"], taps=learned)
        torch.testing.assert_close(found, want, rtol=1e-11, atol=1e-11)


def test_the_chosen_way_and_wrong_delays() -> None:
    leaves, _, _ = case("some", torch.float32)
    weight, delay = leaves["weight"], leaves["delay"]
    for wrong in (-0.5, 6.5, float("nan")):
        bad = LearnedDelays(weight, torch.where(delay == 6.0, wrong, delay), 6, None)
        with pytest.raises(UserError, match=r"expected delays in \[0, 6\] steps"):
            kernels.delayed_linear(leaves["x"], taps=bad)
        y, _ = cpu.delayed_linear(leaves["x"], taps=bad)  # nothing is read out of bounds
        assert y.shape == (9, 3, 65)
    with pytest.raises(UserError, match="sigma"):
        kernels.delayed_linear(leaves["x"], taps=LearnedDelays(weight, delay, 6, 0.0))
    found, _ = kernels.delayed_linear(leaves["x"], taps=LearnedDelays(weight, delay, 6, None))
    want, _ = kernels.delayed_linear(
        leaves["x"], taps=LearnedDelays(weight, delay, 6, None), backend="reference"
    )
    assert torch.equal(found, want)


@pytest.mark.parametrize("learn", ["interpolation", "gaussian"])
def test_a_layer_never_has_all_taps(learn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("taps of all synapses")

    torch.manual_seed(0)
    layer = sg.DelayedLinear(20, 9, 12.0, learn=learn)
    x = (torch.rand(15, 4, 20) < 0.3).float()
    want = layer(x)[0]
    monkeypatch.setattr(sg.DelayedLinear, "taps", refused)
    monkeypatch.setattr("spikegrad.kernels.dispatch.learned_taps", refused)
    y, _ = layer(x)
    y.sum().backward()
    assert torch.equal(y, want)
    with pytest.raises(AssertionError, match="taps of all synapses"):
        kernels.delayed_linear(x, taps=layer.learned_delays(), backend="reference")


@pytest.mark.parametrize("learn", ["interpolation", "gaussian"])
def test_a_layer_under_compile(learn: str) -> None:
    torch.manual_seed(0)
    network = sg.Sequential(sg.DelayedLinear(20, 9, 5.0, learn=learn), sg.LIF(5.0))
    x = (torch.rand(15, 4, 20) < 0.3).float().requires_grad_()
    compiled = torch.compile(network, backend="aot_eager")
    outcomes = []
    for run in (network, compiled):
        y, states = run(x)
        value = y.sum() + states[0].current.sin().sum()
        outcomes.append([y, *torch.autograd.grad(value, [x, *network.parameters()])])
    for found, want in zip(*outcomes, strict=True):
        torch.testing.assert_close(found, want)


def test_taps_of_ones_own_are_used() -> None:
    class Twice(sg.DelayedLinear):
        def taps(self):
            taps = super().taps()
            return taps._replace(values=2 * taps.values)

    torch.manual_seed(0)
    own = Twice(20, 9, 5.0, bias=False, learn="interpolation")
    plain = sg.DelayedLinear(20, 9, 5.0, bias=False, learn="interpolation")
    plain.load_state_dict(own.state_dict())
    x = (torch.rand(15, 4, 20) < 0.3).float()
    torch.testing.assert_close(own(x)[0], 2 * plain(x)[0])


def test_the_width_of_gaussians_is_that_of_the_specification() -> None:
    """Where 3 sigma + 0.5 is a whole number but for the rounding of sigma to float32."""
    leaves, _, _ = case("some", torch.float32)
    counts = []
    for sigma in (0.5, 0.50000000745, 1.5 - 1e-9, 1.5 + 1e-9):
        taps = F.gaussian_taps(leaves["weight"], leaves["delay"], most=25, sigma=sigma)
        counts.append(taps.values.shape[-1])
        want, _ = F.delayed_linear(leaves["x"], taps=taps)
        learned = LearnedDelays(leaves["weight"], leaves["delay"], 25, sigma)
        found, _ = cpu.delayed_linear(leaves["x"], taps=learned)
        torch.testing.assert_close(found, want, rtol=1e-6, atol=4e-6)
    assert counts == [5, 7, 11, 13]


def test_an_infinite_weight_arrives_at_its_taps_alone() -> None:
    weight, delay = torch.full((1, 1), float("inf")), torch.full((1, 1), 10.0)
    x = torch.zeros(40, 1, 1)
    x[0] = 1.0
    y, _ = cpu.delayed_linear(x, taps=LearnedDelays(weight, delay, 20, 0.4))
    assert y.flatten().isfinite().nonzero().flatten().tolist() == [*range(8), *range(13, 40)]


@pytest.mark.parametrize("most", [3, 60])
def test_sequences_of_different_length(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few ends, and so many that the taps are made once."""
    calls: list[int] = []
    made = kernels.learned_taps
    monkeypatch.setattr(
        "spikegrad.kernels.dispatch.learned_taps", lambda *a, **k: calls.append(1) or made(*a, **k)
    )
    torch.manual_seed(0)
    layer = sg.DelayedLinear(20, 9, 5.0, learn="gaussian").double()
    lengths = torch.randint(1, 61, (8,)) if most == 60 else torch.tensor([60, 30, 60, 60] * 2)
    x = (torch.rand(60, 8, 20) < 0.3).double()
    y, _ = layer(x, lengths=lengths)
    assert len(calls) == (most == 60)
    (together,) = torch.autograd.grad(y.sin().sum(), layer.delay.raw)
    apart = torch.zeros(())
    for sample, n in enumerate(lengths.tolist()):
        alone, _ = layer(x[:n, sample : sample + 1])
        torch.testing.assert_close(y[:n, sample], alone[:, 0])
        apart = apart + alone.sin().sum()
    torch.testing.assert_close(together, torch.autograd.grad(apart, layer.delay.raw)[0])


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_the_operator_is_what_torch_expects(sparse: bool) -> None:
    leaves, _, edges = case("some", torch.float64, sparse, "numbers")
    leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
    along = (None, None) if edges is None else (edges.starts, edges.targets)
    torch.library.opcheck(
        torch.ops.spikegrad.learned_delays.default,
        (leaves["x"], None, None, leaves["current"], leaves["weight"], leaves["delay"], *along,
         leaves["bias"], 70, 65, 6, 0.0),
        test_utils=CHECKS,
    )  # fmt: skip


def test_a_second_gradient_is_refused() -> None:
    leaves, _, _ = case("some", torch.float64)
    x = leaves["x"].requires_grad_()
    y, _ = cpu.delayed_linear(x, taps=LearnedDelays(leaves["weight"], leaves["delay"], 6, None))
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="expected one backward pass through a CPU kernel"):
        torch.autograd.grad(dx.sum(), x)
