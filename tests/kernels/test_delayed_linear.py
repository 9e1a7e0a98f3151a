"""Connections with delays: the kernel gives what the specification gives.

Numbers are dyadic, so that no sum rounds and results are equal to the last bit; taps of Gaussians
are not, and are compared to a tolerance.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from delayed import as_bits, delays, drawn, edges_of, input_of, taps_of
from native import CHECKS, needs_kernels, poisoned, threads
from torch import Tensor

from spikegrad import functional as F
from spikegrad import kernels
from spikegrad.errors import UserError
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu.spikes import Spikes
from spikegrad.types import PendingState, Taps

pytestmark = needs_kernels
TYPES = {"float32": torch.float32, "float64": torch.float64}
SHAPES = {
    "some": (9, 3, 70, 65, 6),
    "one step": (1, 1, 130, 70, 25),
    "shorter than the delays": (4, 9, 64, 3, 11),
    "longer": (90, 10, 33, 17, 5),
    "one neuron": (40, 1, 1, 1, 1),
}
"""T, B, I, N and the longest delay."""
INPUTS = ("spikes", "numbers", "zeros")


def case(
    kind: str, shape: str, dtype: torch.dtype, sparse: bool, x: str = "spikes"
) -> dict[str, Any]:
    steps, batch, inputs, outputs, most = SHAPES[shape]
    edges = edges_of(inputs, outputs) if sparse else None
    size = (outputs, inputs) if edges is None else tuple(edges.targets.shape)
    return {
        "leaves": {
            "x": input_of(x, (steps, batch, inputs), dtype),
            "weight": drawn(3, size, dtype),
            "delay": delays(4, size, dtype, most),
            "bias": drawn(5, (outputs,), dtype),
            "current": drawn(6, (batch, most, outputs), dtype),
        },
        "g": drawn(7, (steps, batch, outputs), dtype),
        "left": drawn(8, (batch, most, outputs), dtype),
        "edges": edges,
        "kind": kind,
        "most": most,
    }


def outcome(run: Any, case: dict[str, Any], *, state: bool = True) -> dict[str, Tensor]:
    """Currents, what is on its way, and the gradient of every leaf that has one."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in case["leaves"].items()}
    taps = taps_of(case["kind"], leaves["weight"], leaves["delay"], case["most"])
    before = PendingState(leaves["current"]) if state else None
    y, after = run(leaves["x"], before, taps=taps, bias=leaves["bias"], edges=case["edges"])
    value = (y * case["g"]).sum() + (after.current * case["left"]).sum()
    found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    pairs = {name: g for name, g in zip(leaves, found, strict=True) if g is not None}
    return {"y": y.detach(), "after": after.current.detach(), **pairs}


@pytest.mark.parametrize("x", INPUTS)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["integer", "interpolation", "narrow", "wide"])
@pytest.mark.parametrize("dtype", TYPES)
def test_a_product(dtype: str, kind: str, shape: str, sparse: bool, x: str) -> None:
    made = case(kind, shape, TYPES[dtype], sparse, x)
    with poisoned():
        found = outcome(cpu.delayed_linear, made)
    want = outcome(F.delayed_linear, made)
    assert found.keys() == want.keys()
    assert ("delay" in want) == (kind != "integer")
    for name in want:
        if kind in ("integer", "interpolation"):
            assert torch.equal(found[name], want[name]), name
        else:
            tolerance = 1e-4 if dtype == "float32" else 1e-11
            assert torch.allclose(found[name], want[name], tolerance, 10 * tolerance), name
    assert float(want["y"].abs().sum()) > 0


@pytest.mark.parametrize("form", ["numbers", "everywhere", "places"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["integer", "interpolation"])
@pytest.mark.parametrize("dtype", TYPES)
def test_spikes_as_bits(dtype: str, kind: str, shape: str, sparse: bool, form: str) -> None:
    made = case(kind, shape, TYPES[dtype], sparse, "spikes")
    x = as_bits(made["leaves"].pop("x"), form)
    edge = x.edge.detach().requires_grad_()
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in made["leaves"].items()}
    numbers = torch.ops.spikegrad.unpack(x.bits, x.whole, x.columns).requires_grad_()

    def outcome(given: Any, leaf: Tensor) -> list[Tensor]:
        taps = taps_of(kind, leaves["weight"], leaves["delay"], made["most"])
        y, after = cpu.delayed_linear(
            given,
            PendingState(leaves["current"]),
            taps=taps,
            bias=leaves["bias"],
            edges=made["edges"],
        )
        value = (y * made["g"]).sum() + (after.current * made["left"]).sum()
        wanted = [leaf, leaves["weight"], leaves["bias"], leaves["current"]]
        return [y.detach(), after.current.detach(), *torch.autograd.grad(value, wanted)]

    with poisoned():
        found = outcome(x._replace(edge=edge), edge)
    want = outcome(numbers, numbers)
    if form == "places":
        want[2] = torch.ops.spikegrad.take_places(want[2].contiguous(), x.support)
    for position, (one, other) in enumerate(zip(found, want, strict=True)):
        assert torch.equal(one, other), position


def test_bits_of_other_widths_are_an_error() -> None:
    """66 inputs and 70 columns have as many words."""
    taps = taps_of(
        "integer", drawn(3, (4, 66), torch.float32), delays(4, (4, 66), torch.float32, 2), 2
    )
    bits, _ = torch.ops.spikegrad.pack(torch.ones(3, 2, 70))
    spikes = Spikes(torch.zeros(()).expand(3, 2, 70), bits, None, 70)
    with pytest.raises(UserError, match="expected 66 inputs into a connection with delays, got 70"):
        cpu.delayed_linear(spikes, taps=taps)


@pytest.mark.parametrize("kind", ["integer", "interpolation"])
def test_from_rest_and_where_only_what_is_left_counts(kind: str) -> None:
    made = case(kind, "shorter than the delays", torch.float64, sparse=False)
    for change in ({}, {"g": torch.zeros_like(made["g"])}):
        found = outcome(cpu.delayed_linear, made | change, state=False)
        want = outcome(F.delayed_linear, made | change, state=False)
        assert "current" not in want
        for name in want:
            assert torch.equal(found[name], want[name]), name


def test_only_the_state_has_a_gradient_to_give() -> None:
    made = case("integer", "shorter than the delays", torch.float64, sparse=False)
    grads = []
    for run in (cpu.delayed_linear, F.delayed_linear):
        leaves = {k: v.clone().requires_grad_() for k, v in made["leaves"].items()}
        taps = taps_of("integer", leaves["weight"], leaves["delay"], made["most"])
        _, after = run(leaves["x"], PendingState(leaves["current"]), taps=taps)
        wanted = [leaves[name] for name in ("x", "weight", "current")]
        grads.append(torch.autograd.grad(after.current, wanted, made["left"]))
    for found, want in zip(*grads, strict=True):
        assert torch.equal(found, want)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("kind", ["integer", "interpolation", "narrow"])
def test_results_do_not_depend_on_threads(kind: str, sparse: bool) -> None:
    for shape in ("one step", "longer"):
        made = case(kind, shape, torch.float32, sparse, "numbers")
        with threads(1):
            one = outcome(cpu.delayed_linear, made)
        with threads(3):
            three = outcome(cpu.delayed_linear, made)
        for name in one:
            assert torch.equal(one[name], three[name]), name


@pytest.mark.parametrize("cuts", [(1,), (30, 60), tuple(range(1, 90))])
def test_chunks_are_the_whole_with_their_gradients(cuts: tuple[int, ...]) -> None:
    made = case("interpolation", "longer", torch.float64, sparse=False)

    def in_chunks(x: Tensor, state: PendingState | None, **how: Any) -> Any:
        parts = []
        for part in torch.tensor_split(x, cuts):
            y, state = cpu.delayed_linear(part, state, **how)
            parts.append(y)
        return torch.cat(parts), state

    whole, chunks = outcome(cpu.delayed_linear, made), outcome(in_chunks, made)
    for name in whole:
        assert torch.equal(whole[name], chunks[name]), name


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("alike", ["input", "connection"])
def test_delays_that_inputs_share_shift_an_ordinary_product(alike: str, sparse: bool) -> None:
    made = case("integer", "some", torch.float64, sparse)
    delay = delays(4, (70,), torch.float64, made["most"]).round()
    made["leaves"]["delay"] = delay if alike == "input" else delay.max() - 2
    if sparse and alike == "input":  # one of every synapse: the kernel's own
        made["leaves"]["delay"] = delay[made["edges"].sources()]
    found, want = outcome(kernels.delayed_linear, made), outcome(F.delayed_linear, made)
    taps = taps_of("integer", made["leaves"]["weight"], made["leaves"]["delay"], made["most"])
    assert kernels.is_shift(taps, made["edges"]) == (not (sparse and alike == "input"))
    for name in want:
        assert torch.equal(found[name], want[name]), name


def test_a_silent_input_costs_no_number_whatever_its_weight_is() -> None:
    made = case("integer", "some", torch.float64, sparse=False)
    made["leaves"]["x"][:, :, 3] = 0
    made["leaves"]["weight"][:, 3] = float("inf")
    assert bool(torch.isfinite(outcome(cpu.delayed_linear, made)["y"]).all())


def test_what_would_lead_out_of_memory_is_refused() -> None:
    made = case("integer", "some", torch.float64, sparse=False)
    weight, x = made["leaves"]["weight"], made["leaves"]["x"]
    first = torch.zeros(weight.shape, dtype=torch.int32)
    first[3, 4] = made["most"] + 1
    with pytest.raises(RuntimeError, match=r"taps must lie within \[0, most\]"):
        cpu.delayed_linear(x, taps=Taps(first, weight.unsqueeze(-1), made["most"]))
    taps = taps_of("integer", weight, made["leaves"]["delay"], made["most"])
    with pytest.raises(RuntimeError, match=r"x must be a contiguous \[T, B, I\]"):
        cpu.delayed_linear(x[:, :, 1:], taps=taps)
    with pytest.raises(UserError, match=r"expected state.current of shape \[3, 6, 65\]"):
        cpu.delayed_linear(x, PendingState(x.new_zeros(3, 5, 65)), taps=taps)


@pytest.mark.parametrize("x", ["spikes", "numbers"])
def test_the_operator_is_what_torch_expects(x: str) -> None:
    made = case("interpolation", "some", torch.float64, sparse=True, x=x)
    leaves = {name: leaf.requires_grad_() for name, leaf in made["leaves"].items()}
    taps, edges = taps_of("interpolation", leaves["weight"], leaves["delay"], 6), made["edges"]
    torch.library.opcheck(
        torch.ops.spikegrad.delayed_linear.default,
        (leaves["x"], None, None, leaves["current"], taps.values.detach().requires_grad_(),
         taps.first, edges.starts, edges.targets, leaves["bias"], edges.outputs, 6),
        test_utils=CHECKS,
    )  # fmt: skip


def test_a_second_gradient_is_refused() -> None:
    made = case("integer", "some", torch.float64, sparse=False)
    x = made["leaves"]["x"].requires_grad_()
    taps = taps_of("integer", made["leaves"]["weight"].requires_grad_(), made["leaves"]["delay"], 6)
    y, _ = cpu.delayed_linear(x, taps=taps)
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="expected one backward pass through a CPU kernel"):
        torch.autograd.grad(dx.sum(), x)
