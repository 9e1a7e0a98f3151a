"""C++ from a step's graph: its scan over time, forward and backward, for a block of columns.

One statement for each value, all lanes at once (`src/simd/`), in the order of the graph and without
contraction, so that steps of + - * / give the reference's results to the last bit. Values of
parameters alone are computed once for a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from textwrap import indent

from spikegrad.kernels.emit.program import Program
from spikegrad.kernels.emit.template import TEMPLATE
from spikegrad.step.graph import FUNCTIONS, Graph, Node
from spikegrad.step.keep import Plan
from spikegrad.step.trace import Traced

__all__ = ["cpp"]

BINARY = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
CALLS = {
    "abs": "absolute",
    "maximum": "maximum",
    "minimum": "minimum",
    "floor": "floor_of",
    "ceil": "ceil_of",
    "trunc": "truncated",
    "round": "nearest",
    "sqrt": "square_root",
    "exp": "exp_of",
    "expm1": "expm1_of",
    "log": "log_of",
    "log1p": "log1p_of",
    "tanh": "tanh_of",
    "sigmoid": "sigmoid_of",
    "sin": "sin_of",
    "cos": "cos_of",
    "atan": "atan_of",
    "erf": "erf_of",
    "pow": "pow_of",
    "ge": "at_least",
    "gt": "above",
    "eq": "equal",
    "ne": "unequal",
    "and": "both",
    "or": "either",
    "not": "complement",
    "where": "select",
}
TURNED = {"le": "at_least", "lt": "above"}  # a <= b is b >= a


def cpp(name: str, traced: Traced, plan: Plan, *, each: bool, double: bool) -> Program:
    """The program of a step. each: parameters are one per neuron; double: in float64."""
    writer = Writer(traced, plan, each)
    text = TEMPLATE.format(
        name=name,
        functions='#include "functions.h"\n' if has_functions(traced.graph) else "",
        type="double" if double else "float",
        states=len(traced.states),
        smooth=len(traced.smooth),
        reals=len(plan.reals),
        masks=len(plan.masks),
        learned=len(traced.learned),
        held=len(writer.held) if each else 0,
        each=word(each),
        before=word("computed" in plan.states.values()),
        input=word(plan.reads_input),
        parameters=indent(writer.parameters(), "  "),
        forward=indent(writer.forward(), "      "),
        backward=indent(writer.backward(), "      "),
    )
    return Program.of(text, traced, plan, each=each, double=double)


def has_functions(graph: Graph) -> bool:
    """Whether a step needs more than arithmetic, which takes a second longer to compile."""
    return any(node.op in FUNCTIONS and node.op != "sqrt" for node in graph.nodes)


def word(yes: bool) -> str:
    """A flag in C++."""
    return "true" if yes else "false"


class Writer:
    """The statements of one program."""

    def __init__(self, traced: Traced, plan: Plan, each: bool) -> None:
        self.traced, self.plan, self.each = traced, plan, each
        graph = self.graph = traced.graph
        self.inputs = graph.inputs()
        moving = graph.depends_on(name for name in self.inputs if not name.startswith("parameter "))
        self.constant = set(range(len(graph.nodes))) - moving
        outs = [k for n, k in graph.outputs.items() if not n.startswith("gradient ")]
        self.steps = [k for k in graph.needed_for(outs) if k not in self.constant]
        kept = [k for k in (*plan.reals, *plan.masks) if k not in self.steps]
        self.steps = sorted({*self.steps, *graph.needed_for(kept)} - self.constant)
        used = [*self.steps, *plan.recomputed, *plan.backward, *plan.before]
        read = {arg for k in used for arg in graph.nodes[k].args} | set(graph.outputs.values())
        self.held = sorted(read & self.constant)

    def parameters(self) -> str:
        """Values of parameters and constants, once for a block."""
        lines = []
        for k in self.graph.needed_for(self.held):
            node = self.graph.nodes[k]
            if node.op == "input":
                row = self.traced.parameters.index(node.name.removeprefix("parameter "))
                value = f"load(rows[{row}] + j)" if self.each else f"all_of(c.params[{row}])"
                lines.append(f"const Lane<T> c{k} = {value};")
            else:
                lines.append(statement(self.graph, k, lambda arg: f"c{arg}", "c"))
        if not self.each:
            return "\n".join(lines)
        body = [*lines]
        for place, k in enumerate(self.held):
            if self.graph.nodes[k].is_mask:
                body.append(f"store(held[{place}] + j, keep<T>(c{k}, all_of(T(1))));")
            else:
                body.append(f"store(held[{place}] + j, c{k});")
        return loop([*copies(self.traced.parameters), LANES_OF_BLOCK], body)

    def there(self, used: Iterable[int]) -> list[str]:
        """Inside a loop over lanes: the held values that are read."""
        if not self.each:
            return []
        lines = []
        for place, k in enumerate(self.held):
            if k not in used:
                continue
            value = f"load(held[{place}] + j)"
            if self.graph.nodes[k].is_mask:
                lines.append(f"const Mask<T> c{k} = unequal<T>({value}, Lane<T>{{}});")
            else:
                lines.append(f"const Lane<T> c{k} = {value};")
        return lines

    def name_of(self, prefix: str) -> Callable[[int], str]:
        """How a value is called within a pass."""
        return lambda k: f"c{k}" if k in self.constant else f"{prefix}{k}"

    def forward(self) -> str:
        """One step of one group of lanes."""
        graph, name = self.graph, self.name_of("n")
        outs = [graph.outputs["output"]]
        ends = [graph.outputs[f"state {s}"] for s in self.traced.states]
        lines = []
        for k in self.steps:
            node = graph.nodes[k]
            if node.op != "input":
                lines.append(statement(graph, k, name, "n"))
            elif node.name == "x":
                lines.append(f"const Lane<T> n{k} = load_part(x + j, n - j);")
            else:
                place = self.traced.states.index(node.name.removeprefix("state "))
                lines.append(f"const Lane<T> n{k} = load(states[{place}] + j);")
        used = {arg for k in self.steps for arg in graph.nodes[k].args} | {*outs, *ends}
        y = self.real(outs[0], name)
        lines.append(f"if (kOutput) store_part(y + j, {y}, n - j, past);")
        for place, k in enumerate(self.plan.reals):
            at = f"reals + {place} * kStepBlock + j"
            lines.append(f"if (kKeep) store_part({at}, {name(k)}, kLanes<T>, past);")
        for place, k in enumerate(self.plan.masks):
            lines.append(
                f"if (kKeep) masks[{place} * kGroups<T> + j / kLanes<T>] = "
                f"static_cast<uint16_t>(bits_of<T>({name(k)}));"
            )
        lines += [
            f"store(states[{place}] + j, {self.real(k, name)});" for place, k in enumerate(ends)
        ]
        return "\n".join([*self.there(used | set(self.plan.reals)), *lines])

    def real(self, k: int, name: Callable[[int], str]) -> str:
        """A value as a number, also where it is a mask."""
        return f"keep<T>({name(k)}, all_of(T(1)))" if self.graph.nodes[k].is_mask else name(k)

    def backward(self) -> str:
        """One step backward of one group of lanes."""
        graph, plan, name = self.graph, self.plan, self.name_of("n")
        lines = self.kept("n", "")
        read = {arg for k in (*plan.recomputed, *plan.backward) for arg in graph.nodes[k].args}
        read |= {k for n, k in graph.outputs.items() if n.startswith("gradient ")}
        if plan.reads_input and self.inputs["x"] in read:
            lines.append(f"const Lane<T> n{self.inputs['x']} = load_part(x + j, n - j);")
        lines += self.states_before()
        lines += [statement(graph, k, name, "n") for k in plan.recomputed]
        for k in plan.backward:
            node = graph.nodes[k]
            if node.op != "input":
                lines.append(statement(graph, k, name, "n"))
            elif node.name == "gradient output":
                lines.append(f"const Lane<T> n{k} = load_part(grad + j, n - j);")
            else:
                place = self.traced.smooth.index(node.name.removeprefix("gradient "))
                lines.append(f"const Lane<T> n{k} = load(carry[{place}] + j);")
        lines += self.gradients(name)
        used = read | {arg for k in plan.before for arg in graph.nodes[k].args}
        return "\n".join([*self.there(used), *lines])

    def gradients(self, name: Callable[[int], str]) -> list[str]:
        """Where the results of a step backward go."""
        outputs, zero = self.graph.outputs, "Lane<T>{}"

        def value(key: str) -> str:
            return name(outputs[key]) if key in outputs else zero

        lines = [f"store_part(dx + j, {value('gradient x')}, n - j, past);"]
        for place, state in enumerate(self.traced.smooth):
            lines.append(f"store(carry[{place}] + j, {value(f'gradient state {state}')});")
        for place, parameter in enumerate(self.traced.learned):
            key = f"gradient parameter {parameter}"
            if key in outputs:
                lines.append(
                    f"store(sums[{place}] + j, load(sums[{place}] + j) + {name(outputs[key])});"
                )
        return lines

    def kept(self, prefix: str, before: str) -> list[str]:
        """The kept values of a step; before: what moves the pointers to the step before."""
        lines = []
        for place, k in enumerate(self.plan.reals):
            at = f"reals{before} + {place} * kStepBlock + j"
            lines.append(f"const Lane<T> {prefix}{k} = load({at});")
        for place, k in enumerate(self.plan.masks):
            at = f"masks{before}[{place} * kGroups<T> + j / kLanes<T>]"
            lines.append(f"const Mask<T> {prefix}{k} = mask_from<T>({at});")
        return lines

    def states_before(self) -> list[str]:
        """The states before the step that are computed from what the step before kept."""
        graph, plan = self.graph, self.plan
        computed = [name for name, how in plan.states.items() if how == "computed"]
        if not computed:
            return []
        lines = [f"Lane<T> n{self.inputs[f'state {name}']};" for name in computed]
        first = [
            f"n{self.inputs[f'state {name}']} = load(first[{self.traced.states.index(name)}] + j);"
            for name in computed
        ]
        name = self.name_of("b")
        body = self.kept("b", "_before")
        if plan.reads_input:
            body.append(
                f"[[maybe_unused]] const Lane<T> b{self.inputs['x']} = "
                "load_part(x_before + j, n - j);"
            )
        body += [statement(graph, k, name, "b") for k in plan.before]
        body += [
            f"n{self.inputs[f'state {s}']} = {self.real(graph.outputs[f'state {s}'], name)};"
            for s in computed
        ]
        return [*lines, "if constexpr (kFirst) {", *first, "} else {", *body, "}"]


LANES_OF_BLOCK = "for (int j = 0; j < n; j += kLanes<T>) {"


def loop(head: list[str], body: list[str]) -> str:
    """A loop over lanes behind some statements."""
    return "\n".join([*head, *body, "}"])


def copies(parameters: tuple[str, ...]) -> list[str]:
    """Rows of parameters that are one per neuron, side by side and whole."""
    return [
        f"alignas(64) T rows[{len(parameters)}][kStepBlock];",
        f"for (int row = 0; row < {len(parameters)}; ++row)",
        "copy_row(c.params + row * c.param_columns + column, n, rows[row]);",
    ]


def statement(graph: Graph, k: int, name: Callable[[int], str], prefix: str) -> str:
    """One value."""
    node = graph.nodes[k]
    kind = "Mask<T>" if node.is_mask else "Lane<T>"
    return f"const {kind} {prefix}{k} = {expression(node, [name(arg) for arg in node.args])};"


def expression(node: Node, args: list[str]) -> str:
    """The operation in C++."""
    if node.op == "constant":
        return f"all_of({number(node.value)})"
    if node.op in BINARY:
        return f"{args[0]} {BINARY[node.op]} {args[1]}"
    if node.op == "neg":
        return f"-{args[0]}"
    if node.op == "reciprocal":
        return f"all_of(T(1)) / {args[0]}"
    if node.op == "real":
        return f"keep<T>({args[0]}, all_of(T(1)))"
    if node.op in TURNED:
        return f"{TURNED[node.op]}<T>({args[1]}, {args[0]})"
    return f"{CALLS[node.op]}<T>({', '.join(args)})"


def number(value: float) -> str:
    """A constant in C++."""
    if math.isnan(value):
        return "std::numeric_limits<T>::quiet_NaN()"
    if math.isinf(value):
        return f"{'-' if value < 0 else ''}std::numeric_limits<T>::infinity()"
    return f"T({value!r})"
