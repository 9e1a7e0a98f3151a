"""Triton from a step's graph: its scan over time, forward and backward, for a block of columns.

One statement for each value, in the order of the graph; divisions and roots are rounded correctly,
so that steps of + - * / give the reference's results to the last bit where the compiler joins no
product and sum. Time is a loop in the program whose length is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from textwrap import indent

from spikegrad.kernels.emit.program import Program
from spikegrad.kernels.emit.triton_entry import (
    CHANNELS,
    entering,
    leaving,
    sums_at,
    sums_stored,
)
from spikegrad.kernels.emit.triton_expression import expression
from spikegrad.kernels.emit.triton_template import BACKWARD_STEPS, FORWARD_STEPS, TEMPLATE
from spikegrad.step.keep import Plan
from spikegrad.step.trace import Traced

__all__ = ["Writer", "triton"]

Name = Callable[[int], str]

AHEAD = 4
"""Steps that the forward pass loads x ahead, since loads take longer than a step's arithmetic."""
BEHIND = 2
"""The same of the backward pass, which loads more values a step; at least 1."""


def triton(name: str, traced: Traced, plan: Plan, *, each: bool, double: bool) -> Program:
    """The program of a step. each: parameters are one per neuron; double: in float64."""
    writer = Writer(traced, plan, each, double)
    text = writer.filled(TEMPLATE, name)
    return Program.of(text, traced, plan, each=each, double=double)


class Writer:
    """The statements of one program.

    Variables: c of parameters alone, n of the step, b of the step before; s states, f states before
    the first step, g gradients of states, p gradients of parameters; k kept values, w kept bits, x
    and y what is loaded of the input and of the output's gradient, each with how many steps away;
    offset, factor, addend and their p: see `triton_entry`.
    """

    block, column = "[BLOCK]", "j % width"
    ahead, behind = AHEAD, BEHIND
    normed = True
    """Whether a batch norm's numbers can come before the neurons."""

    def __init__(self, traced: Traced, plan: Plan, each: bool, double: bool) -> None:
        self.traced, self.plan, self.each, self.double = traced, plan, each, double
        graph = self.graph = traced.graph
        self.inputs = graph.inputs()
        moving = graph.depends_on(name for name in self.inputs if not name.startswith("parameter "))
        self.constant = set(range(len(graph.nodes))) - moving
        outs = [k for n, k in graph.outputs.items() if not n.startswith("gradient ")]
        kept = (*plan.reals, *plan.masks)
        self.steps = sorted({*graph.needed_for(outs), *graph.needed_for(kept)} - self.constant)
        used = [*self.steps, *plan.recomputed, *plan.backward, *plan.before]
        read = {arg for k in used for arg in graph.nodes[k].args} | set(graph.outputs.values())
        self.held = sorted(read & self.constant)
        self.words = (len(plan.masks) + 7) // 8

    def filled(self, template: str, name: str) -> str:
        """The text of the program."""
        return template.format(
            name=name,
            type="tl.float64" if self.double else "tl.float32",
            states=len(self.traced.states),
            channels=indent(CHANNELS, "    "),
            parameters=indent(self.parameters(), "    "),
            starts=indent(self.states_at("starts", "s"), "    "),
            forward=indent(self.forward(output=True), "    "),
            ends=indent(self.ends(), "    "),
            carries=indent(self.carries(), "    "),
            marks=indent(self.states_at("row", "f"), "        "),
            again=indent(self.forward(output=False), " " * 12),
            backward=indent(self.backward(), "        "),
            results=indent(self.results(), "    "),
        )

    def parameters(self) -> str:
        """Values of parameters and constants, once for a program."""
        lines = [f"column = {self.column}"] if self.each else []
        for k in self.graph.needed_for(self.held):
            node = self.graph.nodes[k]
            if node.op == "input":
                row = self.traced.parameters.index(node.name.removeprefix("parameter "))
                at = f"parameters + {row} * width"
                value = f"tl.load({at} + column)" if self.each else f"tl.load({at})"
                lines.append(f"c{k} = {value}")
            else:
                value = expression(node, [f"c{arg}" for arg in node.args], double=self.double)
                lines.append(f"c{k} = {value}")
        return "\n".join(lines) or "pass"

    def name_of(self, prefix: str) -> Name:
        """How a value is called within a pass."""
        return lambda k: f"c{k}" if k in self.constant else f"{prefix}{k}"

    def whole(self, k: int, name: Name) -> str:
        """A value as one number for each column, also where it is a mask or a parameter's."""
        value = f"{name(k)}.to(REAL)" if self.graph.nodes[k].is_mask else name(k)
        return f"tl.broadcast_to({value}, {self.block})" if k in self.constant else value

    def states_at(self, place: str, prefix: str) -> str:
        """Load all states."""
        return "\n".join(
            f"{prefix}{n} = tl.load({place} + {n} * columns + j, mask=inside, other=0.0)"
            for n in range(len(self.traced.states))
        )

    def ends(self) -> str:
        """Store the states."""
        return "\n".join(
            f"tl.store(ends + {n} * columns + j, s{n}, mask=inside)"
            for n in range(len(self.traced.states))
        )

    def forward(self, *, output: bool) -> str:
        """The loop over the steps t0 to t0 + count. output: the call's own forward pass, not a
        segment that the backward pass computes again.
        """
        name, outputs = self.name_of("n"), self.graph.outputs
        body = self.current("n", "x0")
        for n, state in enumerate(self.traced.states):
            body.append(f"n{self.inputs[f'state {state}']} = s{n}")
        body += self.statements(self.steps, name, "n")
        body += self.sent(self.whole(outputs["output"], name), output)
        keep = self.keeping(name)
        body += ["if KEEP:", *(f"    {line}" for line in keep)] if output and keep else keep
        for n, state in enumerate(self.traced.states):
            body.append(f"e{n} = {self.whole(outputs[f'state {state}'], name)}")
        body += [f"s{n} = e{n}" for n in range(len(self.traced.states))]
        rows = range(self.ahead)
        first = [*self.before(), *(f"x{n} = {self.load('x', f't0 + {n}')}" for n in rows)]
        if not output:
            first += [f"s{n} = f{n}" for n in range(len(self.traced.states))]
        return FORWARD_STEPS.format(
            first="\n".join(first),
            next=f"    x{self.ahead} = {self.load('x', f't + {self.ahead}')}",
            mark=indent(self.marking(), "    ") if output else "    # no marks again",
            body=indent("\n".join(body), "    "),
            shift="\n".join(f"    x{n} = x{n + 1}" for n in rows),
        )

    def current(self, prefix: str, loaded: str) -> list[str]:
        """What enters the neurons, from what was loaded of x."""
        return entering(f"{prefix}{self.inputs['x']}", loaded, normed=self.normed)

    def before(self) -> list[str]:
        """What a forward loop begins with."""
        return []

    def sent(self, y: str, output: bool) -> list[str]:
        """What becomes of a step's output; output: of the call's own forward pass."""
        return [f"tl.store(y + t * row_step + j, {y}, mask=inside)"] if output else []

    def arriving(self) -> str:
        """The gradient of a step's output."""
        return "y_0.to(REAL)"

    def passed(self) -> list[str]:
        """What becomes of `into`, the gradient of what enters the neurons."""
        return leaving(normed=self.normed)

    def load(self, what: str, t: str) -> str:
        """A row of the input or of the output's gradient; t: its step, the next valid one is taken
        where that is none.
        """
        if what == "x":
            row = f"tl.minimum({t}, steps - 1).to(tl.int64) * x_step"
            return f"tl.load(x + {row} + j, mask=inside, other=0.0)"
        row = f"tl.maximum({t}, 0).to(tl.int64) * grad_step"
        return f"tl.load(grad + {row} + j * grad_column, mask=inside, other=0.0)"

    def input_at(self, i: str) -> str:
        """The input of a step of the segment, of its first for a step before it."""
        return self.load("x", f"t0 + tl.maximum({i}, 0)")

    def marking(self) -> str:
        """Store the states at the start of every segment."""
        return "\n".join(
            [
                "if MARK:",
                "    if t % segment == 0:",
                f"        row = marks + (t // segment) * {len(self.traced.states)} * row_step",
                *(
                    f"        tl.store(row + {n} * columns + j, s{n}, mask=inside)"
                    for n in range(len(self.traced.states))
                ),
            ]
        )

    def keeping(self, name: Name) -> list[str]:
        """Store what the backward pass reads of a step; masks as bits."""
        plan, lines = self.plan, []
        for place, k in enumerate(plan.reals):
            at = f"reals + (i * {len(plan.reals)} + {place}) * row_step + j"
            lines.append(f"tl.store({at}, {name(k)}, mask=inside)")
        for word in range(self.words):
            masks = plan.masks[8 * word : 8 * word + 8]
            bits = [f"{name(k)}.to(tl.int32) * {1 << bit}" for bit, k in enumerate(masks)]
            at = f"words + (i * {self.words} + {word}) * row_step + j"
            lines.append(f"tl.store({at}, ({' + '.join(bits)}).to(tl.uint8), mask=inside)")
        return lines

    def carries(self) -> str:
        """Gradients of the states at the end, and sums of the parameters' gradients."""
        lines = ["if ENDS:"]
        for n in range(len(self.traced.smooth)):
            at = f"grad_ends + {n} * columns + j"
            lines.append(f"    g{n} = tl.load({at}, mask=inside, other=0.0)")
        lines.append("else:")
        zeros = f"tl.zeros({self.block}, REAL)"
        lines += [f"    g{n} = {zeros}" for n in range(len(self.traced.smooth))]
        lines += [f"p{n} = {zeros}" for n in range(len(self.traced.learned))]
        return "\n".join(lines + sums_at(zeros, normed=self.normed))

    def streams(self) -> dict[str, Callable[[str], str]]:
        """What a step of the backward pass loads: variables, and how for a step in the segment."""
        plan = self.plan
        found: dict[str, Callable[[str], str]] = {}

        def kept(what: str, many: int, place: int, other: str) -> Callable[[str], str]:
            at = f"{what} + (tl.maximum({{i}}, 0) * {many} + {place}) * row_step + j"
            return lambda i: f"tl.load({at.format(i=i)}, mask=inside, other={other})"

        for place, k in enumerate(plan.reals):
            found[f"k{k}"] = kept("reals", len(plan.reals), place, "0.0")
        for word in range(self.words):
            found[f"w{word}"] = kept("words", self.words, word, "0")
        if plan.reads_input:
            found["x"] = self.input_at
        if any(self.graph.nodes[k].name == "gradient output" for k in plan.backward):
            found["y"] = lambda i: self.load("grad", f"t0 + {i}")
        return found

    def backward(self) -> str:
        """The loop over the steps back from t0 + count to t0."""
        plan, name = self.plan, self.name_of("n")
        streams = self.streams()
        body = [*self.unpacked("n", 0), *self.states_before()]
        body += self.statements(plan.recomputed, name, "n")
        for k in plan.backward:
            node = self.graph.nodes[k]
            if node.op != "input":
                body += self.statements([k], name, "n")
            elif node.name == "gradient output":
                body.append(f"n{k} = {self.arriving()}")
            else:
                place = self.traced.smooth.index(node.name.removeprefix("gradient "))
                body.append(f"n{k} = g{place}")
        body += self.gradients(name)
        many, also = self.behind, self.normed and not plan.reads_input
        first = [f"{v}_{n} = {load(f'count - 1 - {n}')}" for n in range(many)
                 for v, load in streams.items()]  # fmt: skip
        following = [f"{v}_{many} = {load(f'i - {many}')}" for v, load in streams.items()]
        shift = [f"{v}_{n} = {v}_{n + 1}" for n in range(many) for v in streams]
        if also:  # the gradient of the factor reads x
            first.append("if NORM:")
            first += [f"    x_{n} = {self.input_at(f'count - 1 - {n}')}" for n in range(many)]
            following += ["if NORM:", f"    x_{many} = {self.input_at(f'i - {many}')}"]
            shift += ["if NORM:", *(f"    x_{n} = x_{n + 1}" for n in range(many))]
        return BACKWARD_STEPS.format(
            first="\n".join(first),
            next=indent("\n".join(following), "    "),
            body=indent("\n".join(body), "    "),
            shift=indent("\n".join(shift), "    "),
        )

    def unpacked(self, prefix: str, away: int) -> list[str]:
        """What was kept of a step, and its input, from what was loaded."""
        plan = self.plan
        lines = [f"{prefix}{k} = k{k}_{away}" for k in plan.reals]
        for place, k in enumerate(plan.masks):
            word = f"w{place // 8}_{away}.to(tl.int32)"
            lines.append(f"{prefix}{k} = ({word} & {1 << place % 8}) != 0")
        if plan.reads_input:
            lines += self.current(prefix, f"x_{away}")
        return lines

    def states_before(self) -> list[str]:
        """The states before the step that are computed from what the step before kept."""
        graph, plan = self.graph, self.plan
        computed = [name for name, how in plan.states.items() if how == "computed"]
        if not computed:
            return []
        name = self.name_of("b")
        lines = [*self.unpacked("b", 1), *self.statements(plan.before, name, "b")]
        for state in computed:
            place = self.traced.states.index(state)
            value = self.whole(graph.outputs[f"state {state}"], name)
            lines.append(f"n{self.inputs[f'state {state}']} = tl.where(i == 0, f{place}, {value})")
        return lines

    def gradients(self, name: Name) -> list[str]:
        """Where the results of a step backward go."""
        outputs, zeros = self.graph.outputs, f"tl.zeros({self.block}, REAL)"

        def value(key: str) -> str:
            return self.whole(outputs[key], name) if key in outputs else zeros

        lines = [f"into = {value('gradient x')}", *self.passed()]
        smooth = self.traced.smooth
        lines += [f"h{n} = {value(f'gradient state {state}')}" for n, state in enumerate(smooth)]
        lines += [f"g{n} = h{n}" for n in range(len(smooth))]
        for n, parameter in enumerate(self.traced.learned):
            if (key := f"gradient parameter {parameter}") in outputs:
                lines.append(f"p{n} = p{n} + {self.whole(outputs[key], name)}")
        return lines

    def results(self) -> str:
        """Store the gradients of the states at the start and of the parameters."""
        lines = [
            f"tl.store(dstarts + {n} * columns + j, g{n}, mask=inside)"
            for n in range(len(self.traced.smooth))
        ]
        lines += [
            f"tl.store(sums + {n} * columns + j, p{n}, mask=inside)"
            for n in range(len(self.traced.learned))
        ]
        return "\n".join(lines + sums_stored(len(self.traced.learned), normed=self.normed))

    def statements(self, wanted: Iterable[int], name: Name, prefix: str) -> list[str]:
        """Values that are no inputs."""
        lines = []
        for k in wanted:
            node = self.graph.nodes[k]
            if node.op != "input":
                args = [name(arg) for arg in node.args]
                lines.append(f"{prefix}{k} = {expression(node, args, double=self.double)}")
        return lines
