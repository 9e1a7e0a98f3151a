"""C++ of a scan over time, forward and backward, for a block of columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from textwrap import indent

from spikegrad.kernels.emit.program import Program
from spikegrad.kernels.emit.scan_template import TEMPLATE
from spikegrad.kernels.emit.statements import word
from spikegrad.kernels.emit.writer import Writer
from spikegrad.step.keep import Plan
from spikegrad.step.trace import Traced

__all__ = ["scan"]

MOST_COLUMNS, FEWEST_COLUMNS = 1024, 128
LONG = frozenset(
    ("exp", "expm1", "log", "log1p", "tanh", "sigmoid", "sin", "cos", "erf", "atan", "pow")
)
"""Operations of many instructions, each of which waits for the one before. Two groups of lanes side
by side fill these gaps; without such operations they lack registers (ALIF learned: a quarter slower
with AVX2, AdEx without learning 1.5 times faster)."""
CACHED_BYTES = 32768
"""A first-level cache: smaller blocks took as long or longer, for neurons with most states too."""


def scan(name: str, traced: Traced, plan: Plan, *, each: bool, double: bool) -> Program:
    """The program of a step. each: parameters are one per neuron; double: in float64."""
    writer = ScanWriter(traced, plan, each)
    block = block_of(traced, len(writer.held) if each else 0, 8 if double else 4)
    text = TEMPLATE.format(
        name=name,
        type="double" if double else "float",
        states=len(traced.states),
        smooth=len(traced.smooth),
        reals=len(plan.reals),
        masks=len(plan.masks),
        learned=len(traced.learned),
        held=len(writer.held) if each else 0,
        each=word(each),
        block=block,
        before=word("computed" in plan.states.values()),
        inputs=len(traced.currents),
        outputs=len(traced.results),
        noise=word(traced.noise),
        input=word(plan.reads_input),
        read_noise=word(plan.reads_noise),
        parameters=indent(writer.parameters(), "  "),
        together=writer.together(writer.steps),
        forward=indent(writer.forward(), "      "),
        back_together=writer.together([*plan.recomputed, *plan.backward]),
        backward=indent(writer.backward(), "      "),
    )
    return Program.of(text, traced, plan, each=each, double=double, block=block)


def block_of(traced: Traced, held: int, size: int) -> int:
    """How many columns are walked together, so that what every step reads and writes again stays in
    the first-level cache: states, gradients and their sums, parameters of neurons.
    """
    rows = len(traced.states) + len(traced.smooth) + len(traced.learned) + held + 1
    block = MOST_COLUMNS
    while block > FEWEST_COLUMNS and rows * block * size > CACHED_BYTES:
        block //= 2
    return block


def whole(lines: Iterable[str]) -> Iterator[str]:
    """Statements, a block with all that stands in it."""
    block: list[str] = []
    for line in lines:
        block.append(line)
        text = "\n".join(block)
        if text.count("{") == text.count("}"):
            yield text
            block = []


class ScanWriter(Writer):
    """Columns of all samples side by side; what is kept lies block by block."""

    def rows_of_parameters(self) -> list[str]:
        rows = len(self.traced.parameters)
        return [
            f"alignas(64) T rows[{rows}][kRow];",
            f"for (int row = 0; row < {rows}; ++row) {{",
            "const T* from = c.params + row * c.param_columns + column;",
            "copy_block<kBlock>(from, n, rows[row], from[n - 1]);",
            "}",
        ]

    def input_at(self, name: str, before: str) -> str:
        """An input of a step, or noise."""
        if name == "noise":
            return f"load_part(noise{before} + j, n - j)"
        at = self.of_input(f"x{before}", self.traced.currents.index(name))
        return f"load_part({at} + j, n - j)"

    @staticmethod
    def of_input(row: str, place: int) -> str:
        """The row of one of several inputs, of which the first is known."""
        apart = "c.steps * c.columns" if row == "dx" else "c.x_input"
        return f"{row} + {place} * {apart}" if place else row

    def load_kept(self, prefix: str, before: str) -> list[str]:
        lines = []
        for place, k in enumerate(self.plan.reals):
            at = f"reals{before} + {place} * kBlock + j"
            lines.append(f"const Lane<T> {prefix}{k} = load({at});")
        for place, k in enumerate(self.plan.masks):
            at = f"masks{before}[{place} * kGroups + j / kLanes<T>]"
            lines.append(f"const Mask<T> {prefix}{k} = mask_from<T>({at});")
        return lines

    def forward(self) -> str:
        """One step of one group of lanes."""
        graph, name = self.graph, self.name_of("n")
        lines = self.forward_values(self.input_at, lambda k: f"load(states[{k}] + j)")
        for place, result in enumerate(self.traced.results):
            y = self.real(graph.outputs[result], name)
            lines.append(f"if (kOutput) store_part(y[{place}] + j, {y}, n - j, past);")
        for place, k in enumerate(self.plan.reals):
            at = f"reals + {place} * kBlock + j"
            lines.append(f"if (kKeep) store_part({at}, {name(k)}, kLanes<T>, past);")
        for place, k in enumerate(self.plan.masks):
            lines.append(
                f"if (kKeep) masks[{place} * kGroups + j / kLanes<T>] = "
                f"static_cast<uint16_t>(bits_of<T>({name(k)}));"
            )
        for place, state in enumerate(self.traced.states):
            value = self.real(graph.outputs[f"state {state}"], name)
            lines.append(f"store(states[{place}] + j, {value});")
        return self.side_by_side([*self.held_forward(), *lines], self.steps)

    def backward(self) -> str:
        """One step backward of one group of lanes."""
        lines = self.backward_values(
            self.input_at,
            lambda k: f"load_part(grad[{k}] + j, n - j)",
            lambda k: f"load(carry[{k}] + j)",
            lambda k: f"load(first[{k}] + j)",
        )
        lines += self.gradients(
            lambda k, value: f"store_part({self.of_input('dx', k)} + j, {value}, n - j, past);",
            lambda k: f"carry[{k}] + j",
            lambda k: f"sums[{k}] + j",
        )
        return self.side_by_side(lines, [*self.plan.recomputed, *self.plan.backward])

    def together(self, values: Iterable[int]) -> int:
        """How many groups of lanes a pass with these values takes at once."""
        return 2 if any(self.graph.nodes[k].op in LONG for k in values) else 1

    def side_by_side(self, lines: list[str], values: Iterable[int]) -> str:
        """Statements of one group of lanes, each followed by that of the next group where a pass
        takes two at once.
        """
        if self.together(values) == 1:
            return "\n".join(lines)
        names = "[cnb]" if self.each else "[nb]"

        def other(line: str) -> str:
            line = re.sub(rf"\b({names})(\d+)\b", r"\1\2_1", line)
            return re.sub(r"\bj\b", "(j + kLanes<T>)", line)

        return "\n".join(f"{one}\n{other(one)}" for one in whole(lines))
