"""A step as a small graph: every value once, each made by one operation of a fixed list.

Values are reals or masks (true or false for each neuron). The same operation on the same values
is one value, so what a step computes twice is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["FUNCTIONS", "MASKS", "OPERATIONS", "Graph", "Node"]

ARITHMETIC = ("add", "sub", "mul", "div", "neg", "reciprocal", "abs", "maximum", "minimum")
ROUNDING = ("floor", "ceil", "trunc", "round")
FUNCTIONS = (
    "sqrt",
    "exp",
    "expm1",
    "log",
    "log1p",
    "tanh",
    "sigmoid",
    "sin",
    "cos",
    "atan",
    "erf",
    "pow",
)
MASKS = ("ge", "gt", "le", "lt", "eq", "ne", "and", "or", "not")
OPERATIONS = (*ARITHMETIC, *ROUNDING, *FUNCTIONS, *MASKS, "where", "real")
"""All but "input" and "constant"; "real" makes 1 and 0 of a mask."""


@dataclass(frozen=True)
class Node:
    """One value. op: a word of OPERATIONS, "input" or "constant"; args: numbers of the values it is
    made of; name: of an input; value: of a constant.
    """

    op: str
    args: tuple[int, ...] = ()
    name: str = ""
    value: float = 0.0

    @property
    def is_mask(self) -> bool:
        """Whether the value is true or false."""
        return self.op in MASKS


@dataclass
class Graph:
    """Values in the order in which they are computed, and which of them leave under which name."""

    nodes: list[Node] = field(default_factory=list)
    outputs: dict[str, int] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32  # in which it was traced; it holds for any
    _known: dict[Node, int] = field(default_factory=dict, repr=False, compare=False)

    def add(self, op: str, *args: int, name: str = "", value: float = 0.0) -> int:
        """The number of a value, which is added unless it is there."""
        return self.put(Node(op, args, name, value))

    def put(self, node: Node) -> int:
        """The same for a node."""
        # 0.0 and -0.0 are equal, and are not the same number.
        key = node if node.value else Node(node.op, node.args, node.name + repr(node.value))
        if key not in self._known:
            self._known[key] = len(self.nodes)
            self.nodes.append(node)
        return self._known[key]

    def constant(self, value: float) -> int:
        """A number that is the same for all neurons and steps."""
        return self.add("constant", value=float(value))

    def inputs(self) -> dict[str, int]:
        """The numbers of the inputs by name."""
        return {node.name: k for k, node in enumerate(self.nodes) if node.op == "input"}

    def depends_on(self, names: Iterable[str]) -> set[int]:
        """The values that any of these inputs has a part in, the inputs themselves included."""
        wanted, found = set(names), set()
        for k, node in enumerate(self.nodes):
            if node.name in wanted or any(arg in found for arg in node.args):
                found.add(k)
        return found

    def needed_for(self, wanted: Iterable[int], given: Iterable[int] = ()) -> list[int]:
        """The values to compute for those wanted, in order; given: values that are there already,
        which are not among them.
        """
        there, todo, found = set(given), list(wanted), set()
        while todo:
            k = todo.pop()
            if k not in there and k not in found:
                found.add(k)
                todo += self.nodes[k].args
        return sorted(found)

    def text(self) -> str:
        """One line for each value, for people and for tests."""
        lines = [f"{k} = {said(node)}" for k, node in enumerate(self.nodes)]
        return "\n".join([*lines, *(f"{name}: {k}" for name, k in self.outputs.items())])


def said(node: Node) -> str:
    """One value in words."""
    inside: list[Any] = [node.name] if node.op == "input" else list(node.args)
    return (
        repr(node.value) if node.op == "constant" else f"{node.op}({', '.join(map(str, inside))})"
    )
