"""What a forward pass keeps of each step for the backward pass: as few bytes as a search finds.

The backward pass of a step reads values of its forward pass. Some are kept, the others computed
again from them: a membrane that is kept gives the spike and, of the step before, the membrane after
reset. A set of kept values is enough where everything that is read can be computed from

- the kept values of the step, the parameters, and
- the states before the step, each kept itself or computed from what is kept of the step before.

The search starts from all inputs and all states, which are always enough, and replaces one or two
kept values by others as long as that takes fewer bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from spikegrad.step.support import Support, is_origin, zero_outside
from spikegrad.step.trace import Traced

__all__ = ["Plan", "plan"]

REAL_BITS, MASK_BITS = 32, 2
"""What a kept value costs a neuron-step in float32; a mask has half of its bits unused at worst."""
INPUT_BITS = 31
"""The input exists anyway: reading it again costs less than writing another value."""


@dataclass(frozen=True)
class Plan:
    """Which values are kept of each step.

    reals, masks: numbers of values in the graph; inputs: the inputs that are read again, noise
    among them;
    backward: the values that the backward pass computes, in order, the recomputed ones first;
    before: those of the step before that give the states, in order; states: how each state before
    a step is known, "kept" or "computed", for those that are read; given: masks that are there
    without being kept; within: whether the numbers that are kept matter in the support alone.
    """

    reals: tuple[int, ...]
    masks: tuple[int, ...]
    inputs: tuple[int, ...]
    reads_input: bool
    reads_noise: bool
    recomputed: tuple[int, ...]
    backward: tuple[int, ...]
    before: tuple[int, ...]
    states: dict[str, str]
    given: tuple[int, ...] = ()
    within: bool = False

    @property
    def bytes_kept(self) -> float:
        """Bytes a neuron-step in float32, masks as one bit; the input is not counted."""
        return 4 * len(self.reals) + len(self.masks) / 8


def plan(traced: Traced, *, words: bool = False) -> Plan:
    """The cheapest set that the search finds.

    words: which neurons spiked, and which are in the surrogate's support, is known in any case.
    """
    given = [k for k in (traced.spike, traced.support) if words and k is not None]
    search = Search(traced, frozenset(given))
    kept = search.best()
    graph = traced.graph
    derived = search.derived(kept)
    there = kept | search.given | search.constant
    states = search.states
    needs = search.needs - search.constant
    known = there | {states[name] for name in derived}
    again = [k for k in graph.needed_for(needs, known) if k not in search.constant]
    read = {k for j in again for k in graph.nodes[j].args} | needs
    used = {name: states[name] for name in states if states[name] in read}
    how = {name: "kept" if k in kept else "computed" for name, k in used.items()}
    wanted = [graph.outputs[f"state {name}"] for name, word in how.items() if word == "computed"]
    before = [k for k in graph.needed_for(wanted, there) if k not in search.constant]
    nodes = graph.nodes
    gradients = [k for n, k in graph.outputs.items() if n.startswith("gradient ")]
    backward = [k for k in graph.needed_for(gradients) if k in search.after]
    reals = sorted(k for k in kept if not nodes[k].is_mask and k not in search.inputs)
    again_read = sorted(kept & search.inputs)
    everything = {arg for k in (*again, *backward, *before) for arg in nodes[k].args} | needs
    within = (
        words
        and len(reals) == 1
        and "computed" not in how.values()  # from the step before, whose support is another
        and traced.support is not None
        and matter_within(traced, reals[0], {*again, *backward}, set(again))
    )
    return Plan(
        reals=tuple(reals),
        masks=tuple(sorted(k for k in kept if nodes[k].is_mask)),
        inputs=tuple(again_read),
        reads_input=any(nodes[k].name != "noise" for k in again_read),
        reads_noise=any(nodes[k].name == "noise" for k in again_read),
        recomputed=tuple(again),
        backward=tuple(backward),
        before=tuple(before),
        states=how,
        given=tuple(k for k in given if k in everything or (within and k == traced.support)),
        within=within,
    )


def matter_within(traced: Traced, kept: int, live: set[int], again: set[int]) -> bool:
    """Whether a kept number matters in the surrogate's support alone, and so do the values that
    are made 0 outside of it.
    """
    graph, masks = traced.graph, traced.within
    support = Support(graph, masks, live)
    cut = [k for k in again if is_origin(graph, k) and zero_outside(graph, k) <= masks]
    # A mask that is made of what is not kept is wrong outside: only what it makes 0 may read it.
    exposed = {reader for mask in masks & again for reader in support.readers.get(mask, ())}
    return exposed <= set(cut) and all(support.only_within(k) for k in (kept, *cut))


class Search:
    """The values of a graph by their part in it, and the search over sets of kept ones."""

    def __init__(self, traced: Traced, given: frozenset[int] = frozenset()) -> None:
        graph = self.graph = traced.graph
        self.given = given
        inputs = graph.inputs()
        entering = [*traced.currents, *(["noise"] if traced.noise else [])]
        self.inputs = frozenset(inputs[name] for name in entering)
        self.states = {name: inputs[f"state {name}"] for name in traced.states}
        moving = graph.depends_on([*entering, *(f"state {name}" for name in traced.states)])
        self.after = graph.depends_on(n for n in inputs if n.startswith("gradient "))
        # Parameters, constants and what is made of them alone is there at every step.
        self.constant = set(range(len(graph.nodes))) - moving - self.after
        self.forward = moving - self.after
        gradients = [k for n, k in graph.outputs.items() if n.startswith("gradient ")]
        used = [k for k in graph.needed_for(gradients) if k in self.after]
        read = {arg for k in used for arg in graph.nodes[k].args} | set(gradients)
        self.needs = (read - self.after) - self.constant

    def cost(self, kept: Iterable[int]) -> int:
        """Bits a neuron-step."""
        nodes, free = self.graph.nodes, self.inputs
        return sum(
            MASK_BITS if nodes[k].is_mask else INPUT_BITS if k in free else REAL_BITS for k in kept
        )

    def best(self) -> set[int]:
        """The cheapest set found."""
        kept = {*self.inputs, *self.states.values()}
        better: set[int] | None = kept
        while better is not None:
            kept = better
            better = next((other for other in self.cheaper(kept) if self.enough(other)), None)
        return kept

    def cheaper(self, kept: set[int]) -> Iterator[set[int]]:
        """Sets that differ in one or two values and cost less, the cheapest change first."""
        masks = [k for k in self.forward if self.graph.nodes[k].is_mask]
        reals = [k for k in sorted(self.forward - kept) if not self.graph.nodes[k].is_mask]
        now = self.cost(kept)
        gone = [set(c) for n in (2, 1) for c in combinations(sorted(kept), n)]
        new: list[set[int]] = [set(c) for n in (0, 1, 2) for c in combinations(masks, n)]
        new += [{k} for k in reals] + [{k, m} for k in reals for m in masks]
        found = []
        for less in gone:
            rest = kept - less
            found += [(self.cost(rest | more), k, rest | more) for k, more in enumerate(new)]
        found = sorted((each for each in found if each[0] < now), key=lambda each: each[:2])
        return (other for _, _, other in found)

    def enough(self, kept: set[int]) -> bool:
        """Whether everything that the backward pass reads can be computed."""
        given = kept | {self.states[name] for name in self.derived(kept)}
        return self.computable(self.needs, given)

    def derived(self, kept: set[int]) -> set[str]:
        """The states before a step that what is kept of the step before gives."""
        graph = self.graph
        return {
            name
            for name, k in self.states.items()
            if k not in kept and self.computable([graph.outputs[f"state {name}"]], kept)
        }

    def computable(self, wanted: Iterable[int], given: set[int]) -> bool:
        """Whether values follow from those given and the constant ones, without other inputs."""
        nodes, todo = self.graph.nodes, list(wanted)
        seen = set(given) | self.given | self.constant
        while todo:
            k = todo.pop()
            if k in seen:
                continue
            if nodes[k].op == "input":
                return False
            seen.add(k)
            todo += nodes[k].args
        return True
