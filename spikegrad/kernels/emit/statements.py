"""A value of a step's graph as one C++ statement, all lanes at once (`src/simd/`).

Statements stand in the order of the graph and without contraction, so that steps of + - * / give
the reference's results to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from spikegrad.step.graph import Graph, Node

__all__ = ["number", "one", "statement", "word"]

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


def word(yes: bool) -> str:
    """A flag in C++."""
    return "true" if yes else "false"


def one(mask: str) -> str:
    """1 where a mask holds, 0 elsewhere."""
    return f"keep<T>({mask}, all_of(T(1)))"


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
