"""Connections with some synapses alone: the kernels give what the specification gives.

Numbers are dyadic: no sum of them rounds, in whatever order, so that results are equal to the last
bit. Gradients through neurons round.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from layers import BY_NAME, DYADIC
from native import CHECKS, Seen, detached, needs_kernels, poisoned, same_layout, threads
from torch import Tensor

import spikegrad as sg
from spikegrad import functional as F
from spikegrad.diagnose import explain
from spikegrad.errors import UserError
from spikegrad.kernels import cpu
from spikegrad.nn import use_backend
from spikegrad.nn.connectivity import connect
from spikegrad.surrogate import arctan, triangle
from spikegrad.types import Edges, RecurrentState

pytestmark = needs_kernels
TYPES = {"float32": torch.float32, "float64": torch.float64}
SHAPES = {
    "some": (5, 3, 70, 65),
    "one step": (1, 1, 200, 130),
    "few": (40, 9, 64, 3),
    "tiles": (90, 4, 70, 64),
}
"""T, B, I, N."""


def drawn(seed: int, shape: tuple[int, ...], dtype: torch.dtype, most: int = 8) -> Tensor:
    """Multiples of 1/8 up to one, or so."""
    g = torch.Generator().manual_seed(seed)
    return torch.randint(-most, most + 1, shape, generator=g).to(dtype) / 8


def edges_of(inputs: int, outputs: int, density: float = 0.15, seed: int = 0) -> Edges:
    """Some sources have no synapse, some targets neither."""
    mask = torch.rand(outputs, inputs, generator=torch.Generator().manual_seed(seed)) < density
    mask[:, 1::5] = False
    mask[1::7] = False
    mask[0, 0] = True
    return connect(mask, inputs, outputs).edges


INPUTS: dict[str, Callable[[tuple[int, ...], torch.dtype], Tensor]] = {
    "spikes": lambda shape, dtype: (drawn(1, shape, dtype) > 0.5).to(dtype),
    "numbers": lambda shape, dtype: drawn(1, shape, dtype) * (drawn(2, shape, dtype) > 0.5),
    "a number at the end": lambda shape, dtype: torch.nn.functional.pad(
        torch.ones(*shape[:2], shape[2] - 1, dtype=dtype), (0, 1), value=0.5
    ),
    "zeros": lambda shape, dtype: torch.zeros(shape, dtype=dtype),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", INPUTS)
def test_a_product(kind: str, shape: str, dtype: str) -> None:
    steps, batch, inputs, outputs = SHAPES[shape]
    edges = edges_of(inputs, outputs)
    leaves = {
        "x": INPUTS[kind]((steps, batch, inputs), TYPES[dtype]),
        "weight": drawn(3, edges.targets.shape, TYPES[dtype]),
        "bias": drawn(4, (outputs,), TYPES[dtype]),
    }
    incoming = drawn(5, (steps, batch, outputs), TYPES[dtype])
    with poisoned():
        found = gradients(partial(cpu.linear, edges=edges), leaves, incoming)
    want = gradients(partial(F.linear, edges=edges), leaves, incoming)
    for name in want:
        assert torch.equal(found[name], want[name]), name
    assert float(want["weight"].abs().sum()) > 0 or kind == "zeros"


def gradients(run: Callable[..., Tensor], leaves: dict[str, Tensor], g: Tensor) -> dict[str, Any]:
    """The output, and the gradient of every leaf."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in leaves.items()}
    y = run(leaves["x"], weight=leaves["weight"], bias=leaves["bias"])
    found = torch.autograd.grad(y, list(leaves.values()), g)
    return {"y": y.detach(), **dict(zip(leaves, found, strict=True))}


def test_an_input_that_is_the_same_at_every_step() -> None:
    edges, x = edges_of(70, 65), drawn(1, (3, 70), torch.float64)
    weight = drawn(3, edges.targets.shape, torch.float64)
    y = cpu.linear(x.expand(9, 3, 70), weight=weight, edges=edges)
    assert y.stride(0) == 0
    assert torch.equal(y, F.linear(x.repeat(9, 1, 1), weight=weight, edges=edges))


def fed(case: str, dtype: torch.dtype, **how: Any) -> dict[str, Any]:
    """What `recurrent` needs: a current, a state, a weight, and the neuron's arguments."""
    neuron, n, batch = BY_NAME[case], how.pop("n", 70), how.pop("batch", 3)
    edges = edges_of(n, n)
    args = {"surrogate": how.pop("surrogate", triangle(1.0)), **DYADIC[case], **neuron.words}
    x = drawn(1, (how.pop("steps", 9), batch, n), dtype, most=16)
    weight = drawn(3, edges.targets.shape, dtype, most=4)
    with torch.no_grad():
        _, inner = neuron.scan(drawn(6, (2, batch, n), dtype), **args)
    state = RecurrentState(inner, (drawn(7, (batch, n), dtype) > 0).to(dtype))
    return {"x": x, "state": state, "weight": weight, "edges": edges, "case": case, "args": args}


def through(call: dict[str, Any], backend: str, lean: bool = False) -> dict[str, Tensor]:
    """Outputs, end states, and gradients of current, weight and states, by name."""
    x, weight = (call[name].clone().requires_grad_() for name in ("x", "weight"))
    state = sg.types.map_state(lambda t: t.clone(), call["state"])
    starts = {f"start {i}": t for i, t in enumerate(tensors(state)) if t.is_floating_point()}
    for start in starts.values():
        start.requires_grad_()
    scan = BY_NAME[call["case"]].scan
    if backend == "cpu":
        y, end = cpu.recurrent(
            x, state, weight=weight, edges=call["edges"], neuron=scan.__name__,
            args=call["args"], lean=lean,
        )  # fmt: skip
    else:
        neuron = partial(scan, **call["args"])
        y, end = F.recurrent(x, state, weight=weight, edges=call["edges"], neuron=neuron)
    ends = [t for t in tensors(end) if t.is_floating_point()]
    total = sum((t * drawn(20 + i, t.shape, t.dtype)).sum() for i, t in enumerate([y, *ends]))
    leaves = {"x": x, "weight": weight, **starts}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    made = {name: g for name, g in zip(leaves, found, strict=True) if g is not None}
    outputs = {f"end {i}": t.detach() for i, t in enumerate(ends)}
    return {"y": y.detach(), **outputs, **{f"d {k}": v for k, v in made.items()}}


def tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    return [t for part in state or () for t in tensors(part)]


def check(want: dict[str, Tensor], found: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Equal outputs and states; gradients but for rounding, of sums of some 1,000 products."""
    assert want.keys() == found.keys()
    assert float(want["y"].sum()) > 0
    for name, value in want.items():
        if not name.startswith("d "):
            assert torch.equal(found[name], value), name
            continue
        atol = (1e-11 if dtype == torch.float64 else 2e-5) * max(1.0, float(value.abs().max()))
        torch.testing.assert_close(found[name], value, rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("surrogate", [triangle(1.0), arctan(2.0)], ids=["triangle", "arctan"])
@pytest.mark.parametrize("case", ["if", "lif", "cuba", "alif"])
def test_feedback(case: str, surrogate: Any, dtype: str) -> None:
    call = fed(case, TYPES[dtype], surrogate=surrogate)
    with poisoned():
        found = through(call, "cpu")
    check(through(call, "reference"), found, TYPES[dtype])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("batch", "n"), [(1, 70), (33, 70), (70, 70), (33, 64)])
def test_feedback_of_other_sizes(batch: int, n: int, dtype: str) -> None:
    """Groups of samples, whole ones and a rest; lean with more steps than a segment has; with 64
    neurons the synapses are enough for tiles."""
    call = fed("lif", TYPES[dtype], batch=batch, steps=30 if batch > 1 else 5, n=n)
    want = through(call, "reference")
    with poisoned():
        check(want, through(call, "cpu"), TYPES[dtype])
        check(want, through(call, "cpu", lean=True), TYPES[dtype])


def test_gradients_in_groups_of_samples_where_few_spike() -> None:
    """Then the weight's gradient goes along the spikes, the current's in groups."""
    call = fed("lif", torch.float64, batch=40, surrogate=arctan(2.0))
    call["x"] = call["x"] - 1.5
    want = through(call, "reference")
    assert 0 < float(want["y"].mean()) < 1 / 40
    check(want, through(call, "cpu"), torch.float64)


def test_a_feedback_weight_that_is_not_learned() -> None:
    call = fed("lif", torch.float64, batch=40)
    want, found = [], []
    for backend, made in (("reference", want), ("cpu", found)):
        x = call["x"].clone().requires_grad_()
        edges, args = {"weight": call["weight"], "edges": call["edges"]}, call["args"]
        if backend == "cpu":
            y, _ = cpu.recurrent(x, call["state"], **edges, neuron="lif", args=args)
        else:
            y, _ = F.recurrent(x, call["state"], **edges, neuron=partial(F.lif, **args))
        made += torch.autograd.grad((y * drawn(20, y.shape, y.dtype)).sum(), x)
    torch.testing.assert_close(found, want, rtol=0, atol=1e-11)


def test_feedback_in_chunks() -> None:
    call = fed("lif", torch.float32)
    run = partial(
        cpu.recurrent, weight=call["weight"], edges=call["edges"], neuron="lif", args=call["args"]
    )
    whole, end = run(call["x"], call["state"])
    parts, state = [], call["state"]
    for part in call["x"].split([4, 1, 4]):
        y, state = run(part, state)
        parts.append(y)
    assert torch.equal(torch.cat(parts), whole)
    assert all(torch.equal(a, b) for a, b in zip(tensors(state), tensors(end), strict=True))


@pytest.mark.parametrize("batch", [1, 5, 70])
def test_threads_change_no_bit(batch: int) -> None:
    """Sums run in one order, however many threads share the work."""
    g = torch.Generator().manual_seed(0)
    call = fed("lif", torch.float32, batch=batch, n=300)
    call["weight"] = torch.randn(call["weight"].shape, generator=g)
    x, incoming = (torch.randn(7, batch, 300, generator=g) for _ in range(2))
    leaves = {"x": x, "weight": call["weight"], "bias": torch.randn(300, generator=g)}
    found = []
    for count in (1, 3):
        with threads(count):
            run = partial(cpu.linear, edges=call["edges"])
            found.append({**through(call, "cpu"), **gradients(run, leaves, incoming)})
    for name, value in found[0].items():
        assert torch.equal(found[1][name], value), name


def network(surrogate: str) -> sg.Sequential:
    """Bits between sparse layers, and between dense and sparse ones; sparse feedback."""
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)

    def neuron() -> sg.LIF:
        return sg.LIF(10.0, surrogate=surrogate, threshold=0.5)

    back = sg.Linear(90, 90, connectivity=9, generator=g)
    return sg.Sequential(
        *(sg.Linear(30, 130, connectivity=0.3, generator=g), neuron()),
        *(
            sg.Linear(130, 90, connectivity=20, generator=g),
            sg.Recurrent(neuron(), connection=back),
        ),
        *(sg.Linear(90, 70), neuron()),
        *(sg.Linear(70, 40, connectivity=0.4, generator=g), neuron()),
        sg.Linear(40, 4, connectivity=0.6, generator=g),
    ).double()


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("surrogate", ["triangle", "arctan"])
def test_a_network(surrogate: str, batch: int, lean: bool) -> None:
    net, g = network(surrogate), torch.Generator().manual_seed(1)
    x = (torch.rand(12, batch, 30, generator=g) < 0.4).double().requires_grad_()
    results = []
    for backend in ("reference", "cpu"):
        use_backend(net, backend, lean=lean)
        y, _ = net(x)
        wanted = [x, *net.parameters()]
        results.append([y.detach(), *torch.autograd.grad(y.square().sum(), wanted)])
    assert all(float(each.abs().sum()) > 0 for each in results[0])
    for want, found in zip(*results, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-9)


def test_explain_names_the_products_and_their_synapses() -> None:
    net = network("triangle").float()
    rows = explain(net, (torch.rand(12, 6, 30) < 0.4).float())
    assert [row.backend for row in rows] == ["cpu"] * 5
    sparse = [row for row in rows if row.layers[0] in ("0", "2", "6", "8")]
    assert [row.forward for row in sparse] == ["synapses"] * 4
    assert sparse[0].activity == pytest.approx(0.4, abs=0.05)
    assert [row.input for row in sparse] == ["", *["synapses"] * 3]
    share = 100 * len(net[0].weight) / (30 * 130)
    assert f"{share:.3g} % of the synapses exist; the product, then its neurons" in sparse[0].reason
    assert "feedback along 10 % of the synapses" in sparse[1].reason
    assert "a separate product" in sparse[3].reason
    many, *_ = explain(sg.Sequential(net[0], net[1]), (torch.rand(50, 6, 30) < 0.4).float())
    assert many.ways == ("events", "events", "")
    (once,) = explain(sg.Sequential(net[0], net[1]), torch.rand(6, 30).expand(9, 6, 30))
    assert once.forward == "once"
    assert "100 % of inputs are not 0" in once.reason


def test_operators_pass_opcheck() -> None:
    call = fed("lif", torch.float64)
    x = INPUTS["spikes"]((5, 3, 70), torch.float64).requires_grad_()
    with Seen() as seen:
        weight = call["weight"].clone().requires_grad_()
        cpu.linear(x, weight=weight, edges=call["edges"]).sum().backward()
        through(call, "cpu")
    names = {function.name().split("::")[1] for function, _ in seen.calls}
    assert {"sparse_linear", "sparse_linear_backward", "layer", "layer_backward"} <= names
    for function, args in seen.calls:
        if function.name().endswith(("sparse_linear", "sparse_linear_backward")):
            torch.library.opcheck(function, detached(args), test_utils=CHECKS)
            assert same_layout(function, args)


def damaged(name: str) -> Edges:
    edges = edges_of(70, 65)
    starts, targets = edges.starts.clone(), edges.targets.clone()
    first = int(starts[1])
    if name == "a target out of range":
        targets[first - 1] = 65
    elif name == "a negative target":
        targets[0] = -1
    elif name == "targets that fall":
        targets[:first] = targets[:first].flip(0)
    else:
        starts[1] = starts[-1]
    return Edges(starts, targets, 65)


@pytest.mark.parametrize(
    "name", ["a target out of range", "a negative target", "targets that fall", "starts that fall"]
)
def test_damaged_edges_are_refused(name: str) -> None:
    """A kernel would follow them out of its memory."""
    x, edges = torch.ones(2, 1, 70), damaged(name)
    with pytest.raises(UserError, match="expected starts that rise"):
        cpu.linear(x, weight=torch.ones(edges.targets.shape), edges=edges)


def test_edges_that_change_are_looked_at_again() -> None:
    edges = edges_of(70, 70)
    weight, x = torch.ones(edges.targets.shape), torch.ones(2, 1, 70)
    cpu.linear(x, weight=weight, edges=edges)
    edges.targets[0] = 1000
    with pytest.raises(UserError, match="expected starts that rise"):
        cpu.linear(x, weight=weight, edges=edges)
    with pytest.raises(UserError, match=r"one number for each of \d+ synapses, got \[3\]"):
        cpu.linear(x, weight=torch.ones(3), edges=edges)
