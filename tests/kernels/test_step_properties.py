"""Random steps, drawn by hypothesis: the generated kernels, of a scan and of a layer, against the
loop, values and gradients.

A plan of what is kept that leaves something out would show here: the steps are trees of operations
that nobody chose.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from native import needs_kernels
from torch import Tensor

from spikegrad import kernels
from spikegrad.kernels import cpu
from spikegrad.step import Step
from spikegrad.surrogate import arctan, boxcar, straight_through, triangle
from spikegrad.types import Reset

pytestmark = needs_kernels

FULL = os.environ.get("SPIKEGRAD_CONTRACT") == "full"
NEURONS, STEPS, FIRST = 5, 21, 18  # neurons, steps, and those of the first chunk
COMPARISONS = {"ge": torch.ge, "gt": torch.gt, "le": torch.le, "lt": torch.lt}
Tree = Any


@dataclass(frozen=True)
class Drawn:
    """A random step and how it is called.

    membrane, threshold, ends, output: trees of operations; ends: of each state; output: None for
    the spikes; learned: which parameters are learned; several: it has two inputs; both: it returns
    its membranes too; escape: it spikes by chance; inside: as neurons of a layer, with another
    connection behind them.
    """

    membrane: Tree
    threshold: Tree
    ends: tuple[Tree, ...]
    output: Tree | None
    spikes: bool
    learned: tuple[bool, ...]
    each: bool
    lean: bool
    inside: bool
    several: bool
    both: bool
    escape: bool
    reset: Reset
    detach: bool
    refractory: int
    surrogate: Any
    seed: int = field(repr=False)


def trees(leaves: list[str]) -> st.SearchStrategy[Tree]:
    """Trees over the leaves and some numbers; every result is bounded where the leaves are."""
    leaf = st.one_of(st.sampled_from(leaves), st.sampled_from([0.5, -1.25, 2.0]))

    def grown(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
        two = st.tuples(
            st.sampled_from(["add", "sub", "mul", "div", "maximum", "minimum"]), inner, inner
        )
        one = st.tuples(st.sampled_from(["neg", "abs", "exp", "tanh", "clamp", "square"]), inner)
        chosen = st.tuples(st.sampled_from(sorted(COMPARISONS)), inner, inner, inner, inner)
        return st.one_of(two, one, chosen)

    return st.recursive(leaf, grown, max_leaves=6)


def value_of(tree: Tree, named: dict[str, Any]) -> Any:
    """A tree in torch."""
    if isinstance(tree, str):
        return named[tree]
    if isinstance(tree, float):
        return named["x"] * 0.0 + tree
    op, *args = tree
    a, *rest = (value_of(arg, named) for arg in args)
    if op in COMPARISONS:
        return torch.where(COMPARISONS[op](a, rest[0]), rest[1], rest[2])
    if op in ("add", "sub", "mul", "maximum", "minimum"):
        return getattr(torch, op)(a, rest[0])
    return {
        "div": lambda: a / (1.0 + rest[0].abs()),
        "neg": lambda: -a,
        "abs": lambda: a.abs(),
        "exp": lambda: torch.exp(-a.abs()),
        "tanh": lambda: torch.tanh(a),
        "clamp": lambda: torch.clamp(a, -1.5, 1.5),
        "square": lambda: a**2,
    }[op]()


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    """One to three states, one to three parameters."""
    states = [f"s{k}" for k in range(draw(st.integers(1, 3)))]
    parameters = [f"p{k}" for k in range(draw(st.integers(1, 3)))]
    spikes = draw(st.integers(0, 3)) > 0
    several = draw(st.integers(0, 3)) == 0
    both, escape = (spikes and draw(st.integers(0, 3)) == 0 for _ in range(2))
    known = ["x", *(["x2"] if several else []), *states, *parameters]
    later = [*known, "u", *(["fired", "reset"] if spikes else [])]
    return Drawn(
        membrane=draw(trees(known)),
        threshold=draw(trees(parameters)),
        ends=tuple(draw(trees(later)) for _ in states),
        output=draw(st.one_of(st.none(), trees(later))) if spikes else draw(trees(later)),
        spikes=spikes,
        learned=tuple(draw(st.booleans()) for _ in parameters),
        each=draw(st.booleans()),
        lean=draw(st.booleans()),
        inside=draw(st.booleans()) and not (several or both or escape),
        several=several,
        both=both,
        escape=escape,
        reset=draw(st.sampled_from(["subtract", "zero", "none"])),
        detach=draw(st.booleans()),
        refractory=draw(st.sampled_from([0, 2])) if spikes else 0,
        surrogate=draw(
            st.sampled_from(
                [arctan(2.0), triangle(1.0), boxcar(0.5), *([] if escape else [straight_through()])]
            )
        ),
        seed=draw(st.integers(0, 10**6)),
    )


def step_of(case: Drawn) -> Step:
    """The step; states are kept between -2 and 2."""
    states = [f"s{k}" for k in range(len(case.ends))]
    parameters = [f"p{k}" for k in range(len(case.learned))]

    def random_step(x: Any, s: Any, p: Any) -> Any:
        named = {"x2": x.second} if case.several else {}
        x = x.first if case.several else x
        named |= {"x": x, **{n: getattr(s, n) for n in states}}
        named |= {n: getattr(p, n) + x * 0.0 for n in parameters}
        u = named["u"] = value_of(case.membrane, named)
        y = u
        if case.spikes:
            threshold = value_of(case.threshold, named)
            y = named["fired"] = p.spike(u, threshold)
            named["reset"] = p.reset(u, y, drop=0.5, to=-0.25)
        if case.output is not None:
            y = value_of(case.output, named)
        ends = (torch.clamp(value_of(end, named), -2.0, 2.0) for end in case.ends)
        return y + x * 0.0, dict(zip(states, ends, strict=True))

    step = Step(
        random_step,
        inputs=("first", "second") if case.several else (),
        states={name: 0.25 * k for k, name in enumerate(states)},
        parameters={name: 0.4 - 0.7 * k for k, name in enumerate(parameters)},
        spikes=case.spikes,
    )
    if not case.spikes:
        return step
    return step.variant(
        spike="escape" if case.escape else "binary", output="both" if case.both else "spikes"
    )


def results(case: Drawn, step: Step, backend: str) -> tuple[list[Tensor], list[Any]]:
    """Output and states of two chunks, and the gradients of everything."""
    torch.manual_seed(case.seed)
    shape = (STEPS, 2, 2, NEURONS) if case.several else (STEPS, 2, NEURONS)
    x = (torch.randn(shape, dtype=torch.float64) * 1.5).requires_grad_()
    noise = torch.randn(NEURONS, dtype=torch.float64) * 0.1 if case.each else torch.tensor(0.0)
    values = {
        name: (value + noise).to(torch.float64).requires_grad_(learned)
        for (name, value), learned in zip(step.defaults().items(), case.learned, strict=True)
    }
    behind = torch.randn(3, NEURONS, dtype=torch.float64)
    how: dict[str, Any] = {}
    if case.spikes:
        how = {"surrogate": case.surrogate, "reset": case.reset, "detach_reset": case.detach}
        how["refractory"] = case.refractory
    if case.escape:
        how["generator"] = torch.Generator().manual_seed(case.seed)

    def run(part: Tensor, state: Any) -> Any:
        if not case.inside or backend == "reference":
            y, after = kernels.step(
                step, part, state, backend=backend, lean=case.lean, **how, **values
            )
            y = torch.cat(y) if case.both else y  # its chunks one behind the other
            return (y @ behind.T if case.inside else y), after
        args = {**how, **values}
        y, after = cpu.layer(
            part, state, weight=None, neuron=step, args=args, lean=case.lean, pass_on=True
        )
        return cpu.linear(y, weight=behind, bias=None), after

    first, state = run(x[:FIRST], None)
    second, state = run(x[FIRST:], state)
    y = torch.cat([first, second])
    ends = list(state[: len(step.states)])
    weights = torch.randn(y.shape, dtype=torch.float64)
    total = (y * weights).sum() + sum((end * torch.randn(end.shape)).sum() for end in ends)
    wanted = [x, *(value for value in values.values() if value.requires_grad)]
    grads = torch.autograd.grad(total, wanted, allow_unused=True) if total.requires_grad else ()
    return [y, *(part for part in state if part is not None)], list(grads)


@settings(
    max_examples=200 if FULL else 12,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # to make an example smaller takes minutes of compiling
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(drawn())
def test_a_random_step_equals_the_loop(case: Drawn) -> None:
    step = step_of(case)
    want, gradients = results(case, step, "reference")
    got, ours = results(case, step, "cpu")
    for k, (theirs, mine) in enumerate(zip(want, got, strict=True)):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12, msg=f"result {k}")
    for k, (theirs, mine) in enumerate(zip(gradients, ours, strict=True)):
        if theirs is None or mine is None:  # nothing has a part in it
            assert all(g is None or not g.any() for g in (theirs, mine)), f"gradient {k}"
            continue
        scale = theirs.abs().max().clamp(min=1.0)
        assert (mine - theirs).abs().max() <= 1e-9 * scale, f"gradient {k}"
