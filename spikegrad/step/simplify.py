"""A graph in which some inputs are 0 or 1: what is added or multiplied by them goes.

A resting potential of 0 and a gain of 1, which most neurons have, take three operations of ten.
"""

from __future__ import annotations

from collections.abc import Mapping

from spikegrad.step.graph import Graph

__all__ = ["simplified"]


def simplified(graph: Graph, known: Mapping[str, float]) -> Graph:
    """The same values with inputs replaced by numbers, less `x + 0`, `x - 0`, `1 x`, `x / 1`, and
    products and differences of numbers that are 1 and 0.

    Exact but for the sign of a zero. known: by the input's name.

    >>> g = Graph()
    >>> x, zero = g.add("input", name="x"), g.add("input", name="parameter v_rest")
    >>> g.outputs["y"] = g.add("add", x, zero)
    >>> print(simplified(g, {"parameter v_rest": 0.0}).text())
    0 = input(x)
    1 = 0.0
    y: 0
    """
    made = Graph()
    where: list[int] = []
    for node in graph.nodes:
        if node.op == "input" and node.name in known:
            where.append(made.constant(known[node.name]))
            continue
        args = [where[k] for k in node.args]
        same = unchanged(made, node.op, args)
        if same is None:
            same = both(made, node.op, args)
        if same is None:
            same = put_in_place(made, node.op, args)
        if same is None:
            same = made.add(node.op, *args, name=node.name, value=node.value)
        where.append(same)
    made.outputs = {name: where[k] for name, k in graph.outputs.items()}
    return made


def both(graph: Graph, op: str, args: list[int]) -> int | None:
    """The product of two numbers that are 1 and 0 each: 1 where both masks hold."""
    nodes = [graph.nodes[k] for k in args]
    if op != "mul" or any(node.op != "real" for node in nodes):
        return None
    return graph.add("real", graph.add("and", *(node.args[0] for node in nodes)))


def put_in_place(graph: Graph, op: str, args: list[int]) -> int | None:
    """b of `a + (b - a)` where both are 1 and 0: a spike by chance, see `modes.by_chance`."""
    if op != "add":
        return None
    a, rest = args
    node = graph.nodes[rest]
    if node.op != "sub" or node.args[1] != a:
        return None
    return node.args[0] if all(graph.nodes[k].op == "real" for k in (a, node.args[0])) else None


def unchanged(graph: Graph, op: str, args: list[int]) -> int | None:
    """The value that an operation leaves as it is, None for others."""
    if op not in ("add", "sub", "mul", "div"):
        return None
    neutral = 0.0 if op in ("add", "sub") else 1.0
    first, second = args

    def is_neutral(k: int) -> bool:
        return graph.nodes[k].op == "constant" and graph.nodes[k].value == neutral

    if is_neutral(second):
        return first
    return second if op in ("add", "mul") and is_neutral(first) else None
