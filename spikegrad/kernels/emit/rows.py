"""C++ of one step of some rows of 64 neurons, forward and backward: what a layer calls between the
sum of its inputs and its spikes.

Which neurons spike, and which are in the surrogate's support, leaves as a word for each row. Of a
surrogate with compact support the kept numbers are those in the support alone, side by side.
"""

from __future__ import annotations

from textwrap import indent

from spikegrad.kernels.emit.program import Program
from spikegrad.kernels.emit.rows_template import TEMPLATE
from spikegrad.kernels.emit.statements import word
from spikegrad.kernels.emit.writer import Name, Writer
from spikegrad.step.keep import Plan
from spikegrad.step.support import is_origin, zero_outside
from spikegrad.step.trace import Traced

__all__ = ["rows"]


def rows(name: str, traced: Traced, plan: Plan, *, each: bool, double: bool) -> Program:
    """The program of a step. each: parameters are one per neuron; double: in float64."""
    writer = RowsWriter(traced, plan, each)
    text = TEMPLATE.format(
        name=name,
        type="double" if double else "float",
        reals=len(plan.reals),
        held=len(writer.held) if each else 0,
        before=word("computed" in plan.states.values()),
        input=word(plan.reads_input),
        within=word(plan.within),
        parameters=indent(writer.parameters(), "  "),
        words=indent(writer.start_words(), "    "),
        forward=indent(writer.forward(), "      "),
        leave=indent(writer.leave(), "    "),
        given=indent(writer.given(), "    "),
        backward=indent(writer.backward(), "      "),
    )
    return Program.of(text, traced, plan, each=each, double=double)


class RowsWriter(Writer):
    """Rows of 64 columns side by side; masks are words."""

    columns = "kTile"

    @property
    def support(self) -> int:
        """The mask of the support, -1 where there is none."""
        return -1 if self.traced.support is None else self.traced.support

    @property
    def spike(self) -> int:
        """The mask of the neurons that spike, -1 where the output is no spike."""
        return -1 if self.traced.spike is None else self.traced.spike

    def input_at(self, name: str, before: str) -> str:
        """One of a step's inputs."""
        at = of_input(f"x{before}", self.traced.currents.index(name), "c.x_input")
        return f"load({at} + j)"

    def words(self) -> list[int]:
        return [k for k in (self.spike, self.support) if k >= 0]

    def rows_of_parameters(self) -> list[str]:
        count = len(self.traced.parameters)
        return [
            f"const T* rows[{count}];",
            f"for (int row = 0; row < {count}; ++row) rows[row] = c.params + row * kTile;",
        ]

    def word_of(self, k: int) -> str:
        """The word of a mask that leaves a step."""
        if k == self.spike:
            return "spikes"
        return "support" if k == self.support else f"mask{self.plan.masks.index(k)}"

    def all_words(self) -> list[int]:
        """The masks that leave a step, each once."""
        return list(dict.fromkeys([*self.words(), *self.plan.masks]))

    def made(self, k: int, name: Name, prefix: str) -> str:
        """Outside of the support what is 0 there is made so: the numbers behind it are not kept."""
        line = super().made(k, name, prefix)
        plan = self.plan
        if not (plan.within and prefix == "n" and k in plan.recomputed and self.is_cut(k)):
            return line
        value = line.removeprefix(f"const Lane<T> n{k} = ").removesuffix(";")
        return f"const Lane<T> n{k} = keep<T>({name(self.support)}, {value});"

    def is_cut(self, k: int) -> bool:
        """Whether a number begins to be 0 outside of the support."""
        graph = self.graph
        return is_origin(graph, k) and zero_outside(graph, k) <= self.traced.within

    def start_words(self) -> str:
        return "\n".join(f"uint64_t {self.word_of(k)} = 0;" for k in self.all_words())

    def forward(self) -> str:
        """One step of one group of lanes."""
        graph, name, plan = self.graph, self.name_of("n"), self.plan
        lines = self.forward_values(self.input_at, lambda k: f"load(states + {k} * c.state + j)")
        if self.spike < 0:
            y = self.real(graph.outputs["output"], name)
            lines.append(f"store(y + j, {y});")
        for k in self.all_words():
            bits = f"static_cast<uint64_t>(bits_of<T>({name(k)}))"
            asked = "if (kSupport) " if self.word_of(k) == "support" else ""
            lines.append(f"{asked}{self.word_of(k)} |= {bits} << j;")
        if plan.within:
            inside = f"bits_of<T>({name(self.support)}) & static_cast<unsigned>(there >> j)"
            value = name(plan.reals[0])
            lines.append(f"if (kFew) compress_store<T>({inside}, {value}, few);")
            lines.append(f"else if (kKeep) store_part(reals + j, {value}, kLanes<T>, c.past);")
        else:
            for place, k in enumerate(plan.reals):
                at = f"reals + {place} * c.real + j"
                lines.append(f"if (kKeep) store_part({at}, {name(k)}, kLanes<T>, c.past);")
        for place, state in enumerate(self.traced.states):
            value = self.real(graph.outputs[f"state {state}"], name)
            lines.append(f"store(states + {place} * c.state + j, {value});")
        return "\n".join([*self.held_forward(), *lines])

    def leave(self) -> str:
        """The words of a row."""
        lines = []
        for word_name, k in (("spikes", self.spike), ("support", self.support)):
            if k >= 0:
                value = f"{self.word_of(k)} & there"
                lines.append(f"if (c.{word_name}) c.{word_name}[row * c.word] = {value};")
        for place, k in enumerate(self.plan.masks):
            lines.append(f"if (kKeep) c.masks[{place} * c.mask + row] = {self.word_of(k)};")
        return "\n".join(lines)

    def given(self) -> str:
        """The words of a row that a step backward reads."""
        lines = []
        for before in ("", "_before"):
            mine = []
            for k in self.plan.given:
                which = "spikes" if k == self.spike else "support"
                mine.append((f"{which}{before}", f"c.{which}{before}[row * c.word]"))
            for place in range(len(self.plan.masks)):
                mine.append((f"mask{place}{before}", f"c.masks{before}[{place} * c.mask + row]"))
            for variable, value in mine:
                there = f"kBefore && !kFirst ? {value} : 0" if before else value
                lines.append(f"[[maybe_unused]] const uint64_t {variable} = {there};")
        return "\n".join(lines)

    def load_kept(self, prefix: str, before: str) -> list[str]:
        plan, lines = self.plan, []
        for place, k in enumerate(plan.masks):
            lines.append(mask_line(prefix, k, f"mask{place}{before}"))
        for k in plan.given:
            which = "spikes" if k == self.spike else "support"
            lines.append(mask_line(prefix, k, f"{which}{before}"))
        if plan.within:
            some = "expand_load<T>(static_cast<unsigned>(support >> j), few)"
            value = f"kFew ? {some} : load(reals{before} + j)"
            return [*lines, f"const Lane<T> {prefix}{plan.reals[0]} = {value};"]
        for place, k in enumerate(plan.reals):
            at = f"reals{before} + {place} * c.real + j"
            lines.append(f"[[maybe_unused]] const Lane<T> {prefix}{k} = load({at});")
        return lines

    def backward(self) -> str:
        """One step backward of one group of lanes."""
        lines = self.backward_values(
            self.input_at,
            lambda _: "load(grad + j)",
            lambda k: f"load(carry + {k} * c.state + j)",
            lambda k: f"load(first + {k} * c.state + j)",
        )
        lines += self.gradients(
            to_input,
            lambda k: f"carry + {k} * c.state + j",
            lambda k: f"c.sums + {k} * kTile + j",
        )
        return "\n".join(lines)


def of_input(row: str, place: int, apart: str) -> str:
    """The row of one of several inputs, of which the first is known."""
    return f"{row} + {place} * {apart}" if place else row


def to_input(place: int, value: str) -> str:
    """The gradient of an input."""
    at = f"{of_input('dx', place, 'c.dx_input')} + j"
    return f"store({at}, kAdd ? load({at}) + {value} : {value});"


def mask_line(prefix: str, k: int, variable: str) -> str:
    """The lanes of a mask from its word."""
    value = f"mask_from<T>(static_cast<unsigned>({variable} >> j))"
    return f"[[maybe_unused]] const Mask<T> {prefix}{k} = {value};"
