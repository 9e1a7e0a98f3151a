"""A step and its gradient as one graph, traced from the step's own torch code.

torch's autograd derives the gradient, so the graph has the operations of the reference's backward
pass in their order. The step is traced with two numbers of neurons and must give the same graph:
one that reads its shape is found by that.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from spikegrad.errors import UserError
from spikegrad.step.context import Firing, Parameters
from spikegrad.step.definition import Step
from spikegrad.step.graph import Graph
from spikegrad.step.loop import one_step
from spikegrad.step.lower import NotLowered, lowered
from spikegrad.step.simplify import simplified
from spikegrad.step.support import support_of
from spikegrad.surrogate import Surrogate
from spikegrad.surrogate.spike import spike_by
from spikegrad.types import Reset

__all__ = ["SURROGATE", "Form", "Traced", "trace"]

LANES = ((3, torch.float32), (5, torch.float64))
"""Two numbers of neurons and two dtypes: the graph must be the same."""
SEEN = ("membrane", "distance")
SURROGATE = ("surrogate slope", "surrogate amplitude", "surrogate gain")
"""Names that no parameter of a step can have."""


@dataclass(frozen=True)
class Form:
    """What a graph depends on besides the step's function.

    surrogate: its function and shape count alone, since slope, amplitude and gain are inputs; None
    for a neuron that never spikes; learned: which parameters (by the names that the step reads, and
    "surrogate slope") have gradients; content: of the surrogate's function, which may change;
    known: parameters that are 0 or 1.
    """

    surrogate: Surrogate | None
    reset: Reset
    detach: bool
    refractory: bool
    learned: tuple[str, ...]
    content: int
    known: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Traced:
    """A step's graph. Inputs are named "x" (of several "x NAME"), "state NAME", "parameter NAME",
    "noise", "gradient output", "gradient output membrane", "gradient NAME"; outputs "output",
    "output membrane", "state NAME", "gradient x" ("gradient x NAME"), "gradient state NAME",
    "gradient parameter NAME". currents: the inputs that have gradients; results: "output", and the
    second one; noise: whether uniform numbers are read; states, parameters: the names in order, the
    counter "refractory" last; learned: the parameters that have gradients; named: the "membrane"
    and the "distance" to the threshold of a neuron that spikes; support: the mask outside of which
    the output's gradient has no part in any other, None where the surrogate has tails; within: the
    masks that it consists of.
    """

    graph: Graph
    states: tuple[str, ...]
    parameters: tuple[str, ...]
    learned: tuple[str, ...]
    named: dict[str, int] = field(default_factory=dict)
    support: int | None = None
    within: frozenset[int] = frozenset()
    currents: tuple[str, ...] = ("x",)
    results: tuple[str, ...] = ("output",)
    noise: bool = False

    @property
    def spike(self) -> int | None:
        """The mask of the neurons that spike, None where the output is not 1 and 0."""
        out = self.graph.nodes[self.graph.outputs["output"]]
        return out.args[0] if out.op == "real" else None

    @property
    def smooth(self) -> tuple[str, ...]:
        """The states that have gradients: all but the refractory counter."""
        return tuple(name for name in self.states if name != "refractory")


class Amplified:
    """A surrogate whose slope and amplitude are values of the graph."""

    mode = "hard"

    def __init__(self, record: Surrogate, amplitude: Tensor, gain: Tensor) -> None:
        self.shape, self.family = dict(record.parameters), record.family
        self.amplitude, self.gain = amplitude, gain

    def derivative(self, x: Tensor, slope: Tensor) -> Tensor:
        return self.amplitude * self.family.derivative(x * slope, **self.shape)

    def primitive(self, x: Tensor, slope: Tensor) -> Tensor:
        """Of area 1 and gain 1: `forms.form_of` lets no other be a probability."""
        function = self.family.primitive
        assert function is not None
        return function(x * slope, **self.shape)

    def slope_derivative(self, x: Tensor, slope: Tensor) -> Tensor:
        return self.gain * (x * self.family.derivative(x * slope, **self.shape))


def trace(step: Step, form: Form) -> Traced:
    """The graph of a step; raises NotLowered, whose message says which operation and why.

    It is made in a thread of its own: modes of torch that are in force for the caller (no_grad,
    inference mode, autocast, hooks on saved tensors, a tracer) must have no part in it.
    """
    with ThreadPoolExecutor(max_workers=1) as alone:
        return alone.submit(traced, step, form).result()


def traced(step: Step, form: Form) -> Traced:
    """`trace` in the thread of the caller."""
    by_chance = step.mode.word == "escape"
    if by_chance and (form.surrogate is None or not form.surrogate.has_primitive):
        raise NotLowered("its surrogate has no primitive, the probability of a spike")
    currents = tuple(f"x {name}" for name in step.inputs) or ("x",)
    results = ("output", *(("output membrane",) if step.output == "both" else ()))
    states = (*step.states, *(("refractory",) if form.refractory else ()))
    fires = SURROGATE if step.spikes else ()
    counts = ("refractory steps",) if form.refractory else ()
    parameters = (*step.reads, "dt", *fires, *counts)
    smooth = tuple(step.states)
    function = joint(step, form, states, parameters)
    inputs = [
        *currents,
        *(f"state {name}" for name in states),
        *(f"parameter {name}" for name in parameters),
        *(["noise"] if by_chance else []),
        *(f"gradient {name}" for name in results),
        *(f"gradient {name}" for name in smooth),
    ]
    outputs = [
        *results,
        *(f"state {name}" for name in states),
        *(f"gradient {name}" for name in currents),
        *(f"gradient state {name}" for name in smooth),
        *(f"gradient parameter {name}" for name in form.learned),
        *SEEN,
    ]
    graphs = [graph_of(function, inputs, outputs, *lanes) for lanes in LANES]
    if graphs[0].text() != graphs[1].text():
        raise NotLowered("it reads the shape of its input; a step is elementwise over neurons")
    known = {f"parameter {name}": value for name, value in form.known}
    graph = simplified(graphs[0], known)
    named = {name: graph.outputs.pop(name) for name in SEEN if name in graph.outputs}
    support, within = support_of(graph) or (None, frozenset())
    rest = (named, support, within, currents, results, by_chance)
    return Traced(graph, states, parameters, form.learned, *rest)


def graph_of(
    function: Callable[..., Any],
    inputs: list[str],
    outputs: list[str],
    lanes: int,
    dtype: torch.dtype,
) -> Graph:
    """The graph for so many neurons in a dtype."""
    values = [torch.full((lanes,), 0.5, dtype=dtype, device="cpu") for _ in inputs]
    table: Any = core_aten_decompositions()
    try:
        whole = make_fx(function)(*values)
        # What torch writes in place (and a step on values of its own) as new values.
        module = make_fx(functionalize(whole), decomposition_table=table)(*values)
    except (UserError, NotLowered, AttributeError, TypeError):
        raise
    except Exception as error:  # whatever torch's tracer says of code that it cannot follow
        said = str(error).strip().splitlines()
        if said and "_local_scalar_dense" in said[0]:
            raise NotLowered(
                "it reads a value (by if, float or item); a step acts on each neuron alone: "
                "use torch.where"
            ) from error
        why = said[0][:160] if said else type(error).__name__
        raise NotLowered(f"torch cannot trace it ({why})") from error
    return lowered(module, inputs, outputs, dtype)


def joint(
    step: Step, form: Form, states: tuple[str, ...], parameters: tuple[str, ...]
) -> Callable[..., Any]:
    """The step and its gradient as one function of tensors, `[lanes]` each."""

    def run(*given: Tensor) -> list[Tensor | None]:
        parts = iter(given)
        xs = [leaf(next(parts)) for _ in step.inputs or ("x",)]
        before = {name: next(parts) for name in states}
        values = {name: next(parts) for name in parameters}
        noise = next(parts) if step.mode.word == "escape" else None
        incoming = list(parts)
        before = {n: v if n == "refractory" else leaf(v) for n, v in before.items()}
        values = {n: leaf(v) if n in form.learned else v for n, v in values.items()}
        firing = firing_of(step, form, values)
        read = {name: values[name] for name in (*step.reads, "dt")}
        silent = before.get("refractory")
        p = Parameters(read, firing, silent, noise, step.rest)
        smooth = {name: before[name] for name in step.states}
        y, after = one_step(step, xs, smooth, p, check=True)
        if step.output == "membrane" and p.fired is not None:
            y = p.fired.membrane
        second = [p.fired.membrane] if step.output == "both" and p.fired is not None else []
        ends = [after[name] for name in step.states]
        results = [y, *second, *ends]
        made = [(out, g) for out, g in zip(results, incoming, strict=True) if out.requires_grad]
        wanted = [*xs, *smooth.values(), *(values[name] for name in form.learned)]
        grads: tuple[Tensor | None, ...] = (None,) * len(wanted)
        if made:  # else nothing depends on anything
            grads = torch.autograd.grad(
                [out for out, _ in made], wanted, [g for _, g in made], allow_unused=True
            )
        counter = [p.fired.silent] if form.refractory and p.fired is not None else []
        seen = (p.fired.membrane, p.fired.distance) if p.fired is not None else (None, None)
        return [*results, *counter, *grads, *seen]

    return run


def leaf(value: Tensor) -> Tensor:
    """The same numbers as the start of a gradient's graph."""
    return value.detach().requires_grad_()


def firing_of(step: Step, form: Form, values: dict[str, Tensor]) -> Firing | None:
    """How the traced neurons spike: slope and amplitude are values of the graph."""
    if form.surrogate is None:
        return None
    amplified = Amplified(form.surrogate, *(values[name] for name in SURROGATE[1:]))

    def fire(distance: Tensor) -> Tensor:
        return spike_by(distance, values[SURROGATE[0]], amplified)

    steps = values["refractory steps"] if form.refractory else 0
    if step.mode.word != "escape":
        return Firing(fire, form.reset, form.detach, steps, step.mode)

    def chance(distance: Tensor) -> Tensor:
        return amplified.primitive(distance.detach(), values[SURROGATE[0]].detach())

    return Firing(fire, form.reset, form.detach, steps, step.mode, chance)
