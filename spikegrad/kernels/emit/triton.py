"""Triton from a step's graph: its scan over time, forward and backward, for a block of columns.

One statement for each value, in the order of the graph; divisions and roots are rounded correctly,
so that steps of + - * / give the reference's results to the last bit where the compiler joins no
product and sum. Time is a loop in the program whose length is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent

from spikegrad.kernels.emit.program import Program
from spikegrad.kernels.emit.triton_entry import (
    CHANNELS,
    entering,
    leaving,
    sums_at,
    sums_stored,
)
from spikegrad.kernels.emit.triton_template import BACKWARD_STEPS, FORWARD_STEPS, TEMPLATE
from spikegrad.kernels.emit.triton_values import Name, Values
from spikegrad.step.keep import Plan
from spikegrad.step.trace import Traced

__all__ = ["Writer", "triton"]

AHEAD = 4
"""Steps that the forward pass loads x ahead, since loads take longer than a step's arithmetic."""
BEHIND = 2
"""The same of the backward pass, which loads more values a step; at least 1."""

Loads = dict[str, Callable[[str], str]]
"""Variables, and how each is loaded for a step."""


def triton(name: str, traced: Traced, plan: Plan, *, each: bool, double: bool) -> Program:
    """The program of a step. each: parameters are one per neuron; double: in float64."""
    writer = Writer(traced, plan, each, double)
    text = writer.filled(TEMPLATE, name)
    return Program.of(text, traced, plan, each=each, double=double)


class Writer(Values):
    """The statements of one program.

    Variables besides those of `Values`: g gradients of states, p gradients of parameters; x of the
    inputs, z of noise and y of the outputs' gradients, each with its place among its kind and how
    many steps away; offset, factor, addend and their p: see `triton_entry`.
    """

    ahead, behind = AHEAD, BEHIND

    def __init__(self, traced: Traced, plan: Plan, each: bool, double: bool) -> None:
        super().__init__(traced, plan, each, double)
        self.normed = len(traced.currents) == 1
        """Whether a bias and a batch norm's numbers can come before the neurons."""

    def filled(self, template: str, name: str) -> str:
        """The text of the program."""
        return template.format(
            name=name,
            type="tl.float64" if self.double else "tl.float32",
            states=len(self.traced.states),
            places=indent(self.places(), "    "),
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

    def places(self) -> str:
        """Where a column's inputs are, `[T, B, inputs, N]`, and what is added to them."""
        many = len(self.traced.currents)
        if many == 1:
            return f"source = j\n{CHANNELS}"
        return f"source = j // features * ({many} * features) + j % features"

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
        body = [line for place in range(len(self.traced.currents))
                for line in self.current("n", place, f"x{place}_0", output=output)]  # fmt: skip
        body += [f"n{self.inputs['noise']} = z_0"] if self.traced.noise else []
        for n, state in enumerate(self.traced.states):
            body.append(f"n{self.inputs[f'state {state}']} = s{n}")
        body += self.statements(self.steps, name, "n")
        body += self.sent(self.whole(outputs["output"], name), output)
        if output and len(self.traced.results) > 1:
            second = self.whole(outputs["output membrane"], name)
            body.append(f"tl.store(membrane + t * row_step + j, {second}, mask=inside)")
        keep = self.keeping(name)
        body += ["if KEEP:", *(f"    {line}" for line in keep)] if output and keep else keep
        for n, state in enumerate(self.traced.states):
            body.append(f"e{n} = {self.whole(outputs[f'state {state}'], name)}")
        body += [f"s{n} = e{n}" for n in range(len(self.traced.states))]
        loads, rows = self.entering(), range(self.ahead)
        first = [*self.before(), *(f"{v}_{n} = {load(f't0 + {n}')}" for n in rows
                                   for v, load in loads.items())]  # fmt: skip
        first += [f"m{n} = tl.zeros({self.block}, tl.int32)" for n in range(len(self.plan.masks))]
        if not output:
            first += [f"s{n} = f{n}" for n in range(len(self.traced.states))]
        following = [f"{v}_{self.ahead} = {load(f't + {self.ahead}')}" for v, load in loads.items()]
        return FORWARD_STEPS.format(
            first="\n".join(first),
            next=indent("\n".join(following), "    "),
            mark=indent(self.marking(), "    ") if output else "    # no marks again",
            body=indent("\n".join(body), "    "),
            shift="\n".join(f"    {v}_{n} = {v}_{n + 1}" for n in rows for v in loads),
        )

    def entering(self) -> Loads:
        """What a step reads: the inputs, and noise."""
        loads: Loads = {f"x{n}": self.input(n) for n in range(len(self.traced.currents))}
        return loads | ({"z": self.noise} if self.traced.noise else {})

    def current(self, prefix: str, place: int, loaded: str, *, output: bool) -> list[str]:
        """What enters the neurons by one of their inputs, from what was loaded of x; output: as of
        `forward`.
        """
        x = f"{prefix}{self.inputs[self.traced.currents[place]]}"
        return entering(x, loaded, normed=self.normed)

    def before(self) -> list[str]:
        """What a forward loop begins with."""
        return [f"sent_bits = tl.zeros({self.block}, tl.int32)"]

    def sent(self, y: str, output: bool) -> list[str]:
        """What becomes of a step's output; output: of the call's own forward pass."""
        if not output:
            return []
        store = f"tl.store(y + t * row_step + j, {y}, mask=inside)"
        spike = self.traced.spike
        if spike is None:
            return [store]
        at = "bits + (t // 8) * row_step + j"
        packed = self.filled_with("sent_bits", self.name_of("n")(spike), "t", at)
        return ["if PACK:", *(f"    {line}" for line in packed), "else:", f"    {store}"]

    def arriving(self, place: int) -> str:
        """The gradient of one of a step's outputs."""
        return f"y{place}_0.to(REAL)"

    def passed(self, place: int) -> list[str]:
        """What becomes of `into`, the gradient of what enters by one of the inputs."""
        many = len(self.traced.currents)
        if many == 1:
            return leaving(normed=self.normed)
        at = f"dx + t * row_step * {many} + source + {place} * features"
        return [f"tl.store({at}, into, mask=inside)"]

    def input(self, place: int) -> Callable[[str], str]:
        """A row of an input; the next valid step is taken where there is none."""
        at = f"source + {place} * features" if place else "source"

        def load(t: str) -> str:
            row = f"tl.minimum({t}, steps - 1).to(tl.int64) * x_step"
            return f"tl.load(x + {row} + {at}, mask=inside, other=0.0)"

        return load

    @staticmethod
    def noise(t: str) -> str:
        """A row of the noise."""
        row = f"tl.minimum({t}, steps - 1) * row_step"
        return f"tl.load(noise + {row} + j, mask=inside, other=0.0)"

    @staticmethod
    def incoming(place: int) -> Callable[[str], str]:
        """A row of an output's gradient."""
        grad = ("grad", "grad_membrane")[place]

        def load(i: str) -> str:
            row = f"tl.maximum(t0 + {i}, 0).to(tl.int64) * {grad}_step"
            return f"tl.load({grad} + {row} + j * {grad}_column, mask=inside, other=0.0)"

        return load

    @staticmethod
    def in_segment(load: Callable[[str], str]) -> Callable[[str], str]:
        """A row by its step of the segment, of its first for a step before it."""
        return lambda i: load(f"t0 + tl.maximum({i}, 0)")

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
        for place, k in enumerate(plan.masks):
            at = f"masks + (i // 8 * {len(plan.masks)} + {place}) * row_step + j"
            lines += self.filled_with(f"m{place}", name(k), "i", at)
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

    def streams(self) -> Loads:
        """What a step of the backward pass loads, each for a step of the segment."""
        plan = self.plan
        found: Loads = {}

        def kept(what: str, many: int, place: int, other: str) -> Callable[[str], str]:
            at = f"{what} * {many} + {place}) * row_step + j"
            return lambda i: f"tl.load({at.format(i=i)}, mask=inside, other={other})"

        for place, k in enumerate(plan.reals):
            found[f"k{k}"] = kept("reals + (tl.maximum({i}, 0)", len(plan.reals), place, "0.0")
        for place in range(len(plan.masks)):
            found[f"w{place}"] = kept(
                "masks + (tl.maximum({i}, 0) // 8", len(plan.masks), place, "0"
            )
        for place in self.read_again():
            found[f"x{place}"] = self.in_segment(self.input(place))
        if plan.reads_noise:
            found["z"] = self.in_segment(self.noise)
        used = {self.graph.nodes[k].name for k in plan.backward}
        for place, result in enumerate(self.traced.results):
            if f"gradient {result}" in used:
                found[f"y{place}"] = self.incoming(place)
        return found

    def read_again(self) -> list[int]:
        """The places of the inputs that the backward pass reads."""
        if not self.plan.reads_input:
            return []
        return [n for n, name in enumerate(self.traced.currents)
                if self.inputs[name] in self.plan.inputs]  # fmt: skip

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
            elif (result := node.name.removeprefix("gradient ")) in self.traced.results:
                body.append(f"n{k} = {self.arriving(self.traced.results.index(result))}")
            else:
                body.append(f"n{k} = g{self.traced.smooth.index(result)}")
        body += self.gradients(name)
        many, also = self.behind, self.normed and not plan.reads_input
        first = [f"{v}_{n} = {load(f'count - 1 - {n}')}" for n in range(many)
                 for v, load in streams.items()]  # fmt: skip
        following = [f"{v}_{many} = {load(f'i - {many}')}" for v, load in streams.items()]
        shift = [f"{v}_{n} = {v}_{n + 1}" for n in range(many) for v in streams]
        if also:  # the gradient of the factor reads x
            x = self.in_segment(self.input(0))
            first.append("if NORM:")
            first += [f"    x0_{n} = {x(f'count - 1 - {n}')}" for n in range(many)]
            following += ["if NORM:", f"    x0_{many} = {x(f'i - {many}')}"]
            shift += ["if NORM:", *(f"    x0_{n} = x0_{n + 1}" for n in range(many))]
        return BACKWARD_STEPS.format(
            first="\n".join(first),
            next=indent("\n".join(following), "    "),
            body=indent("\n".join(body), "    "),
            shift=indent("\n".join(shift), "    "),
        )

    def unpacked(self, prefix: str, away: int) -> list[str]:
        """What was kept of a step, its inputs and noise, from what was loaded."""
        lines = super().unpacked(prefix, away)
        for place in self.read_again():
            lines += self.current(prefix, place, f"x{place}_{away}", output=False)
        if self.plan.reads_noise:
            lines.append(f"{prefix}{self.inputs['noise']} = z_{away}")
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

        lines = []
        for place, current in enumerate(self.traced.currents):
            lines += [f"into = {value(f'gradient {current}')}", *self.passed(place)]
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
