"""The values of a step in Triton: how they are called, and their statements."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from spikegrad.kernels.emit.triton_expression import expression
from spikegrad.step.keep import Plan
from spikegrad.step.trace import Traced

__all__ = ["Name", "Values"]

Name = Callable[[int], str]


class Values:
    """The values of one program.

    Variables: c of parameters alone, n of the step, b of the step before; s states, f states before
    the first step; k kept numbers and w kept bits, each with how many steps away; m bytes that are
    being filled.
    """

    block, column = "[BLOCK]", "j % width"

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

    def filled_with(self, byte: str, mask: str, step: str, at: str) -> list[str]:
        """Put a mask into the byte of 8 steps that a neuron has; a byte that is full, or whose
        steps end, is stored. step: `i` of the part, or `t`; at: where.
        """
        return [
            f"bit = ({mask}).to(tl.int32) << ({step} % 8)",
            f"{byte} = tl.where({step} % 8 == 0, bit, {byte} | bit)",
            f"if ({step} % 8 == 7) | (i == count - 1):",
            f"    tl.store({at}, {byte}.to(tl.uint8), mask=inside)",
        ]

    def unpacked(self, prefix: str, away: int) -> list[str]:
        """What was kept of a step, from what was loaded."""
        lines = [f"{prefix}{k} = k{k}_{away}" for k in self.plan.reals]
        step = f"tl.maximum(i - {away}, 0)" if away else "i"
        for place, k in enumerate(self.plan.masks):
            bits = f"w{place}_{away}.to(tl.int32)"
            lines.append(f"{prefix}{k} = (({bits} >> ({step} % 8)) & 1) != 0")
        return lines

    def statements(self, wanted: Iterable[int], name: Name, prefix: str) -> list[str]:
        """Values that are no inputs."""
        lines = []
        for k in wanted:
            node = self.graph.nodes[k]
            if node.op != "input":
                args = [name(arg) for arg in node.args]
                lines.append(f"{prefix}{k} = {expression(node, args, double=self.double)}")
        return lines
