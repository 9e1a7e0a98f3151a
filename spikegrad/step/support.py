"""Where a step's gradients can be other than 0: the support of its surrogate, read off the graph.

A triangle is 0 beyond its width. What reaches a spike there is multiplied by 0, so nobody needs the
gradient that arrives, or the membrane that the derivative is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce

from spikegrad.step.graph import Graph

__all__ = ["Support", "is_origin", "support_of", "zero_outside"]

LINEAR = ("add", "sub", "neg")
Masks = frozenset[int]
"""Masks that hold all at once; none: everywhere."""
EVERYWHERE: Masks = frozenset()


class Support:
    """What is 0 outside of masks, and what matters within them alone.

    live: the values of the graph that are computed.
    """

    def __init__(self, graph: Graph, masks: Masks, live: Iterable[int]) -> None:
        self.graph, self.masks = graph, masks
        self.readers = readers_of(graph, live)
        self.results = set(results_of(graph))

    def only_within(self, k: int) -> bool:
        """Whether a value has no part in any gradient outside of the support, if the values that
        are 0 there are made 0 where they begin to be (`is_origin`).
        """
        return k not in self.results and all(
            zero_outside(self.graph, reader) >= self.masks or self.only_within(reader)
            for reader in self.readers.get(k, ())
        )


def support_of(graph: Graph) -> tuple[int, Masks] | None:
    """The support of a joint graph: a mask, which is added to it, and what it consists of. None
    where the derivative has tails.
    """
    inputs = graph.inputs()
    incoming = inputs.get("gradient output")
    live = graph.needed_for(results_of(graph))
    if incoming not in live:
        return None
    masks = needed_within(graph, incoming, readers_of(graph, live))
    # Neurons that are silent after a spike are few: theirs is no support worth a name.
    if not masks & graph.depends_on(["x"]):
        return None
    # A forward pass must be able to make it.
    if masks & graph.depends_on(name for name in inputs if name.startswith("gradient ")):
        return None
    return reduce(lambda a, b: graph.add("and", a, b), sorted(masks)), masks


def needed_within(graph: Graph, k: int, readers: dict[int, list[int]]) -> Masks:
    """The masks outside of which a value has no part in any gradient."""
    if k in results_of(graph):
        return EVERYWHERE
    found: set[Masks] = set()
    for reader in readers.get(k, ()):
        node = graph.nodes[reader]
        if node.op == "mul":
            factors = [arg for arg in node.args if arg != k] or [k]
            cut = zero_outside(graph, factors[0])
            found.add(cut | needed_within(graph, reader, readers))
        else:
            inside = node.op in LINEAR
            found.add(needed_within(graph, reader, readers) if inside else EVERYWHERE)
    return found.pop() if len(found) == 1 else EVERYWHERE


def results_of(graph: Graph) -> list[int]:
    """The gradients."""
    return [k for name, k in graph.outputs.items() if name.startswith("gradient ")]


def readers_of(graph: Graph, live: Iterable[int]) -> dict[int, list[int]]:
    """Which values are made of a value, among those that are computed."""
    found: dict[int, list[int]] = {}
    for k in live:
        for arg in dict.fromkeys(graph.nodes[k].args):
            found.setdefault(arg, []).append(k)
    return found


def zero_outside(graph: Graph, k: int) -> Masks:
    """The masks outside of which a value is exactly 0.

    >>> g = Graph()
    >>> x, zero = g.add("input", name="x"), g.constant(0.0)
    >>> h = g.add("mul", g.add("maximum", x, zero), x)
    >>> [g.nodes[mask] for mask in zero_outside(g, h)]
    [Node(op='gt', args=(0, 1), name='', value=0.0)]
    """
    node = graph.nodes[k]
    rule = RULES.get(node.op)
    return EVERYWHERE if rule is None else rule(graph, *node.args)


def is_origin(graph: Graph, k: int) -> bool:
    """Whether a value is 0 outside of a mask, and none that it is made of is."""
    node = graph.nodes[k]
    return bool(zero_outside(graph, k)) and node.op in ("real", "maximum", "where")


def is_zero(graph: Graph, k: int) -> bool:
    """Whether a value is the constant 0."""
    return graph.nodes[k].op == "constant" and graph.nodes[k].value == 0.0


def conjuncts(graph: Graph, mask: int) -> Masks:
    """The masks that hold where a mask holds, each by itself."""
    node = graph.nodes[mask]
    if node.op != "and":
        return frozenset([mask])
    return conjuncts(graph, node.args[0]) | conjuncts(graph, node.args[1])


def of_maximum(graph: Graph, a: int, b: int) -> Masks:
    """max(a, 0)."""
    if is_zero(graph, a):
        a, b = b, a
    return frozenset([graph.add("gt", a, b)]) if is_zero(graph, b) else EVERYWHERE


def of_choice(graph: Graph, mask: int, a: int, b: int) -> Masks:
    """a where the mask holds, b elsewhere."""
    if is_zero(graph, b):
        return conjuncts(graph, mask)
    return frozenset([graph.add("not", mask)]) if is_zero(graph, a) else EVERYWHERE


RULES: dict[str, Callable[..., Masks]] = {
    "real": conjuncts,
    "maximum": of_maximum,
    "where": of_choice,
    "mul": lambda graph, a, b: zero_outside(graph, a) | zero_outside(graph, b),
    "div": lambda graph, a, b: zero_outside(graph, a),
    "neg": zero_outside,
    "abs": zero_outside,
}
