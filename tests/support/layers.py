"""One call of a layer, by the specification and by the kernels, with every gradient.

Numbers are dyadic unless a setting says otherwise: multiples of 1/64, decays 1/2. No sum of them
rounds, in whatever order, so membranes and spikes must be equal bit for bit in both types.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from neurons import CASES, Case
from scans import SCANS
from torch import Tensor

from spikegrad import functional as F
from spikegrad.kernels import cpu
from spikegrad.surrogate import Surrogate, arctan
from spikegrad.types import RecurrentState

__all__ = ["BY_NAME", "DYADIC", "Outcome", "Setting", "by_kernels", "by_reference", "compare"]

BY_NAME = {case.name: case for case in CASES}
DYADIC: dict[str, dict[str, float]] = {
    "if": {"threshold": 1.0, "v_reset": 1 / 8},
    "lif": {"beta": 0.5, "threshold": 1.0, "v_rest": 1 / 8, "v_reset": -1 / 8},
    "lif-leak": {"beta": 0.5, "threshold": 0.5, "v_rest": -1 / 8, "v_reset": 1 / 16},
    "cuba": {"alpha": 0.5, "beta": 0.5, "threshold": 1.0, "v_rest": 1 / 8, "v_reset": -1 / 8},
    "cuba-leak": {"alpha": 0.5, "beta": 0.5, "threshold": 3 / 8, "v_rest": 0.0, "v_reset": 1 / 16},
    "alif": {
        "beta": 0.5, "rho": 0.5, "kappa": 0.25,
        "threshold": 1.0, "v_rest": 1 / 16, "v_reset": 1 / 8,
    },
    "li": {"beta": 0.5},
}  # fmt: skip
BACKENDS = ("scan", "current", "layer", "feedback", "whole")
"""The scan alone; a layer with a given current; with a weight; with feedback; with both."""


@dataclass(frozen=True)
class Setting:
    """One call. shape: T, B, I, N; x, incoming: see `inputs` and `incoming_of`."""

    case: str = "lif"
    backend: str = "layer"
    reset: str = "subtract"
    surrogate: Surrogate = field(default_factory=lambda: arctan(2.0))
    dtype: torch.dtype = torch.float64
    shape: tuple[int, int, int, int] = (7, 3, 70, 65)
    detach: bool = True
    refractory: int = 0
    slope: str = "fixed"  # "one", "each": learned
    parameters: str = "layer"  # tensors that are learned, "neuron": per neuron, "numbers": neither
    x: str = "spikes"
    start: str = "given"  # or "rest"
    incoming: str = "random"
    bias: bool = True
    lean: bool = False
    exact: bool = True  # dyadic numbers
    seed: int = 0

    @property
    def neuron(self) -> Case:
        return BY_NAME[self.case]

    @property
    def weighted(self) -> bool:
        return self.backend in ("layer", "whole")

    @property
    def fed_back(self) -> bool:
        return self.backend in ("feedback", "whole")


class Outcome(NamedTuple):
    """Outputs and end states, then the gradient of every leaf by name."""

    outputs: list[Tensor | None]
    gradients: dict[str, Tensor]


class Call(NamedTuple):
    """The tensors of a call: leaves by name, in float64 or the setting's type."""

    leaves: dict[str, Tensor]
    x: Tensor
    args: dict[str, Any]
    state: Any


def by_reference(s: Setting) -> Outcome:
    """What the specification says, in float64 on the same numbers."""
    c = prepared(replace(s, dtype=torch.float64), s.dtype)
    x = F.linear(c.x, weight=c.leaves["weight"], bias=c.leaves.get("bias")) if s.weighted else c.x
    if s.fed_back:
        scan = partial(s.neuron.scan, **c.args)
        y, end = F.recurrent(x, c.state, weight=c.leaves["feedback"], neuron=scan)
    else:
        y, end = s.neuron.scan(x, c.state, **c.args)
    return outcome(s, c, y, end)


def by_kernels(s: Setting) -> Outcome:
    """What the kernels say."""
    c = prepared(s, s.dtype)
    scan = s.neuron.scan.__name__
    if s.backend == "scan":
        y, end = SCANS[scan](c.x, c.state, **c.args)
    else:
        weights = {name: c.leaves.get(name) for name in ("weight", "bias", "feedback")}
        y, end = cpu.layer(c.x, c.state, **weights, neuron=scan, args=c.args, lean=s.lean)
    return outcome(s, c, y, end)


def compare(s: Setting, want: Outcome, got: Outcome) -> None:
    """Equal outputs, gradients but for rounding.

    Exact numbers: outputs bit for bit. Else, and for gradients, sums in another order: 1e-10 of
    the largest in float64; in float32 each gradient is a sum of up to some 10,000 products.
    """
    assert len(want.outputs) == len(got.outputs)
    for name, a, b in zip(
        ("y", "end", "end", "end", "end"), want.outputs, got.outputs, strict=False
    ):
        assert (a is None) == (b is None), name
        if a is None or b is None:
            continue
        if s.exact:
            assert torch.equal(a.to(b.dtype), b), f"{name} differs"
        else:
            torch.testing.assert_close(b, a.to(b.dtype), rtol=1e-9, atol=1e-10)
    tolerance = 1e-10 if s.dtype == torch.float64 else 2e-5
    assert want.gradients.keys() == got.gradients.keys()
    for name, a in want.gradients.items():
        b = got.gradients[name].double()
        scale = max(1.0, float(a.abs().max()) if a.numel() else 0.0)
        torch.testing.assert_close(
            b, a, rtol=0, atol=tolerance * scale, msg=lambda m, name=name: f"{name}: {m}"
        )


def prepared(s: Setting, seen: torch.dtype) -> Call:
    """Leaves, input, arguments and state; seen: the type whose numbers they are."""
    steps, batch, inputs, outputs = s.shape
    g = torch.Generator().manual_seed(s.seed)
    inputs = inputs if s.weighted else outputs
    leaves: dict[str, Tensor] = {}
    leaves |= parameters(s)
    x, leaf = inputs_of(s, g, (steps, batch, inputs))
    if leaf is not None:
        leaves["x"] = leaf
    if s.weighted:
        leaves["weight"] = weights(s, g, outputs, inputs)
        if s.bias:
            leaves["bias"] = leaf_of(s, drawn(s, g, (outputs,), 0.25))
    if s.fed_back:
        leaves["feedback"] = weights(s, g, outputs, outputs)
    state = start(s, g, batch, outputs, leaves)
    args: dict[str, Any] = {**s.neuron.words}
    for name in DYADIC[s.case]:
        args[name] = leaves[name] if name in leaves else value_of(s, name)
    if s.neuron.spikes:
        args |= {
            "reset": s.reset,
            "surrogate": s.surrogate,
            "detach_reset": s.detach,
            "refractory": s.refractory,
        }
        if s.slope != "fixed":
            size = (outputs,) if s.slope == "each" else ()
            wiggle = torch.arange(outputs) % 3 / 2 if size else torch.zeros(())
            leaves["slope"] = leaf_of(s, (1.5 + wiggle).double())
            args["slope"] = leaves["slope"]
    return Call(leaves, x, args, state)


def leaf_of(s: Setting, value: Tensor) -> Tensor:
    return value.to(s.dtype).requires_grad_()


def drawn(s: Setting, g: torch.Generator, shape: tuple[int, ...], largest: float) -> Tensor:
    """Numbers in [-largest, 1.5 largest], exact multiples of 1/64 or not."""
    value = (torch.rand(shape, generator=g, dtype=torch.float64) * 2.5 - 1) * largest
    return torch.round(value * 64) / 64 if s.exact else value


def weights(s: Setting, g: torch.Generator, outputs: int, inputs: int) -> Tensor:
    """A weight that keeps currents near the threshold at 30 % of ones."""
    return leaf_of(s, drawn(s, g, (outputs, inputs), 0.6 / max(1.0, 0.3 * inputs) ** 0.5))


def value_of(s: Setting, name: str) -> float:
    return DYADIC[s.case][name] if s.exact else s.neuron.parameters[name]


def parameters(s: Setting) -> dict[str, Tensor]:
    """The learned parameters, per layer or per neuron (decays differ only in exact numbers)."""
    if s.parameters == "numbers":
        return {}
    made = {}
    for name in DYADIC[s.case]:
        value = torch.tensor(value_of(s, name), dtype=torch.float64)
        if s.parameters == "neuron":
            steps = torch.arange(s.shape[3]) % 5 / 64
            value = value + (0 if s.exact and name in ("alpha", "beta", "rho") else steps)
        made[name] = leaf_of(s, value)
    return made


def inputs_of(
    s: Setting, g: torch.Generator, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor | None]:
    """The input and its leaf.

    "spikes", "empty", "full": zeros and ones; "real"; "static": one step, seen T times, "static
    leaf": the same, with a gradient; "transposed": spikes, not contiguous; "fixed": spikes without
    a gradient.
    """
    many = shape[1:] if s.x.startswith("static") else shape
    if s.x == "empty" or s.x == "full":
        value = torch.full(shape, float(s.x == "full"), dtype=torch.float64)
    elif s.x == "real" or not s.weighted:
        value = drawn(s, g, many, 0.75)
        if s.weighted and s.exact:
            value = torch.round(value * 4) / 4
    else:
        value = (torch.rand(many, generator=g) < 0.3).double()
    value = value.to(s.dtype)
    if s.x.startswith("static"):
        leaf = value.requires_grad_() if s.x == "static leaf" else None
        return value.expand(shape), leaf
    if s.x == "transposed":
        value = value.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    return value, None if s.x == "fixed" else value.requires_grad_()


def start(s: Setting, g: torch.Generator, batch: int, n: int, leaves: dict[str, Tensor]) -> Any:
    """A state away from rest, as leaves; with a refractory period some neurons are silent."""
    if s.start == "rest":
        return None
    names = [name for name in s.neuron.state._fields if name != "refractory"]  # type: ignore[attr-defined]
    for name in names:
        leaves[f"start {name}"] = leaf_of(s, drawn(s, g, (batch, n), 0.3))
    state = s.neuron.state(*(leaves[f"start {name}"] for name in names))
    if s.refractory:
        silent = torch.randint(0, s.refractory + 1, (batch, n), generator=g, dtype=torch.int32)
        state = state._replace(refractory=silent)
    if not s.fed_back:
        return state
    leaves["start s"] = leaf_of(s, (torch.rand(batch, n, generator=g) < 0.3).double())
    return RecurrentState(state, leaves["start s"])


def outcome(s: Setting, c: Call, y: Tensor, end: Any) -> Outcome:
    """Outputs, end states and all gradients of one weighting of them."""
    ends = [*end.neuron, end.s] if s.fed_back else [*end]
    seen, gradients = [], []
    g = torch.Generator().manual_seed(s.seed + 1)
    for part, gradient in [(y, incoming_of(s, y, g)), *((e, ending_of(s, e, g)) for e in ends)]:
        if gradient is not None and part.requires_grad:
            seen.append(part)
            gradients.append(gradient.to(part.dtype))
    leaves = c.leaves
    got: tuple[Tensor | None, ...] = (None,) * len(leaves)
    if seen and leaves:
        got = torch.autograd.grad(seen, [*leaves.values()], gradients, allow_unused=True)
    filled = {
        name: torch.zeros_like(leaf) if one is None else one
        for (name, leaf), one in zip(leaves.items(), got, strict=True)
    }
    outputs = [None if p is None else p.detach() for p in (y, *ends)]
    return Outcome(outputs, filled)


def incoming_of(s: Setting, y: Tensor, g: torch.Generator) -> Tensor | None:
    """The gradient of y.

    "random"; "sum", "mean": stride 0 everywhere; "over time": stride 0 over time; "transposed";
    None with "ends", where only end states have one.
    """
    if s.incoming == "ends":
        return None
    if s.incoming in ("sum", "mean"):
        value = 1.0 if s.incoming == "sum" else 1.0 / y.numel()
        return torch.tensor(value, dtype=y.dtype).expand(y.shape)
    if s.incoming == "over time":
        return drawn(s, g, (*y.shape[1:],), 0.5).to(y.dtype).expand(y.shape)
    value = drawn(s, g, (*y.shape,), 0.5).to(y.dtype)
    if s.incoming == "transposed":
        return value.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    return value


def ending_of(s: Setting, end: Tensor | None, g: torch.Generator) -> Tensor | None:
    """The gradient of an end state; with "mean" there is none."""
    if end is None or not end.is_floating_point() or s.incoming == "mean":
        return None
    value = drawn(s, g, (*end.shape,), 0.5)
    return value.t().contiguous().t() if s.incoming == "transposed" else value
