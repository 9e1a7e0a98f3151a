"""The values of a step's graph in words: what is kept, for people who wrote the step."""

from __future__ import annotations

from spikegrad.step.graph import Node
from spikegrad.step.keep import Plan
from spikegrad.step.trace import Traced

__all__ = ["kept_in_words", "operations"]

SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "ge": ">=", "gt": ">", "le": "<=",
         "lt": "<", "eq": "==", "ne": "!="}  # fmt: skip
ROLES = {
    "membrane": "the membrane before the reset",
    "distance": "the distance to the threshold",
}
LONGEST = 80
"""Letters of a formula; behind them is an ellipsis."""


def kept_in_words(traced: Traced, plan: Plan) -> tuple[str, ...]:
    """What is kept of each step, one phrase each, masks last."""
    return tuple(phrase(traced, k) for k in (*plan.reals, *plan.masks))


def operations(traced: Traced) -> tuple[int, int]:
    """Operations of one step forward, and of its gradient besides them."""
    graph = traced.graph
    forward = [k for name, k in graph.outputs.items() if not name.startswith("gradient ")]

    def count(wanted: list[int]) -> int:
        needed = graph.needed_for(wanted)
        return sum(graph.nodes[k].op not in ("input", "constant") for k in needed)

    return count(forward), count(list(graph.outputs.values())) - count(forward)


def phrase(traced: Traced, k: int) -> str:
    """One value by its role, or else by its formula."""
    graph = traced.graph
    node = graph.nodes[k]
    if node.op == "input":
        return f"{node.name} before the step"
    if is_spike(traced, k):
        return "whether the membrane reaches the threshold (1 bit)"
    ends = {n: name for name, n in graph.outputs.items() if "gradient" not in name}
    roles = {
        **{n: f"{name} after the step" for n, name in ends.items()},
        **{n: ROLES[name] for name, n in traced.named.items()},
    }
    if k in roles:
        return roles[k]
    bit = " (1 bit)" if node.is_mask else ""
    said = formula(traced, k)
    return f"{said if len(said) <= LONGEST else said[:LONGEST] + ' ...'}{bit}"


def is_spike(traced: Traced, k: int) -> bool:
    """Whether a mask is `distance >= 0`."""
    node = traced.graph.nodes[k]
    return node.op == "ge" and node.args[0] == traced.named.get("distance")


def formula(traced: Traced, k: int, within: bool = False) -> str:
    """A value made of inputs; within: whether it stands inside another one."""
    node = traced.graph.nodes[k]
    if node.op == "input":
        return node.name.split()[-1]
    if node.op == "constant":
        return f"{node.value:g}"
    if within and k == traced.named.get("membrane"):
        return "membrane"
    args = [formula(traced, arg, within=True) for arg in node.args]
    return written(node, args, within)


def written(node: Node, args: list[str], within: bool) -> str:
    """An operation with its arguments."""
    if node.op in SIGNS:
        said = f"{args[0]} {SIGNS[node.op]} {args[1]}"
        return f"({said})" if within else said
    return f"{node.op}({', '.join(args)})"
