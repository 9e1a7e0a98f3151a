"""What all C++ programs of a step have in common: its values forward, backward and of the step
before. Where numbers lie is for each kind of program to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from spikegrad.kernels.emit.statements import one, statement
from spikegrad.step.keep import Plan
from spikegrad.step.trace import Traced

__all__ = ["Writer"]

Name = Callable[[int], str]
Reads = Callable[[str, str], str]
"""How an input is read, by its name; the second word is "", or "_before" for the step before."""


class Writer:
    """The statements of one program. each: parameters are one per neuron.

    A value k of the forward or backward pass is called nk, of parameters alone ck, of the step
    before bk.
    """

    def __init__(self, traced: Traced, plan: Plan, each: bool) -> None:
        self.traced, self.plan, self.each = traced, plan, each
        graph = self.graph = traced.graph
        self.inputs = graph.inputs()
        self.entering = {self.inputs[name] for name in (*traced.currents, "noise")
                         if name in self.inputs}  # fmt: skip
        moving = graph.depends_on(name for name in self.inputs if not name.startswith("parameter "))
        self.constant = set(range(len(graph.nodes))) - moving
        outs = [k for n, k in graph.outputs.items() if not n.startswith("gradient ")]
        wanted = [k for k in (*outs, *plan.reals, *plan.masks, *self.words()) if k >= 0]
        self.steps = [k for k in graph.needed_for(wanted) if k not in self.constant]
        used = [*self.steps, *plan.recomputed, *plan.backward, *plan.before]
        read = {arg for k in used for arg in graph.nodes[k].args} | set(graph.outputs.values())
        self.held = sorted(read & self.constant)

    # Where things are: the words of one kind of program.

    def words(self) -> list[int]:
        """Masks that leave a step besides those that are kept."""
        return []

    def rows_of_parameters(self) -> list[str]:
        """Statements that make `rows[k] + j` of the parameters of neurons side by side."""
        raise NotImplementedError

    def load_kept(self, prefix: str, before: str) -> list[str]:
        """The kept values of a step; before: what moves the names to the step before."""
        raise NotImplementedError

    # What follows from them.

    def parameters(self) -> str:
        """Values of parameters and constants, once for a block."""
        lines = []
        for k in self.graph.needed_for(self.held):
            node = self.graph.nodes[k]
            if node.op == "input":
                row = self.traced.parameters.index(node.name.removeprefix("parameter "))
                value = f"load(rows[{row}] + j)" if self.each else f"all_of(c.params[{row}])"
                lines.append(f"[[maybe_unused]] const Lane<T> c{k} = {value};")
            else:
                lines.append(f"[[maybe_unused]] {statement(self.graph, k, self.held_name, 'c')}")
        if not self.each:
            return "\n".join(lines)
        for place, k in enumerate(self.held):
            value = one(f"c{k}") if self.graph.nodes[k].is_mask else f"c{k}"
            lines.append(f"store(held[{place}] + j, {value});")
        loop = f"for (int j = 0; j < {self.columns}; j += kLanes<T>) {{"
        return "\n".join([*self.rows_of_parameters(), loop, *lines, "}"])

    columns = "n"
    """How many columns a loop goes over."""

    @staticmethod
    def held_name(k: int) -> str:
        """A value of parameters alone."""
        return f"c{k}"

    def there(self, used: Iterable[int]) -> list[str]:
        """Inside a loop over lanes: the held values that are read."""
        if not self.each:
            return []
        lines = []
        for place, k in enumerate(self.held):
            if k not in used:
                continue
            value = f"load(held[{place}] + j)"
            if self.graph.nodes[k].is_mask:
                lines.append(f"const Mask<T> c{k} = unequal<T>({value}, Lane<T>{{}});")
            else:
                lines.append(f"const Lane<T> c{k} = {value};")
        return lines

    def name_of(self, prefix: str) -> Name:
        """How a value is called within a pass."""
        return lambda k: f"c{k}" if k in self.constant else f"{prefix}{k}"

    def real(self, k: int, name: Name) -> str:
        """A value as a number, also where it is a mask."""
        return one(name(k)) if self.graph.nodes[k].is_mask else name(k)

    def made(self, k: int, name: Name, prefix: str) -> str:
        """The statement of one value."""
        return statement(self.graph, k, name, prefix)

    def forward_values(self, read: Reads, state: Callable[[int], str]) -> list[str]:
        """The values of one step, from its inputs and the states before."""
        graph, name = self.graph, self.name_of("n")
        lines = []
        for k in self.steps:
            node = graph.nodes[k]
            if node.op != "input":
                lines.append(self.made(k, name, "n"))
            elif k in self.entering:
                lines.append(f"const Lane<T> n{k} = {read(node.name, '')};")
            else:
                place = self.traced.states.index(node.name.removeprefix("state "))
                lines.append(f"const Lane<T> n{k} = {state(place)};")
        return lines

    def held_forward(self) -> list[str]:
        """The held values that a step reads."""
        graph = self.graph
        outs = [k for n, k in graph.outputs.items() if not n.startswith("gradient ")]
        used = {arg for k in self.steps for arg in graph.nodes[k].args}
        return self.there(used | {*outs, *self.plan.reals})

    def backward_values(
        self,
        input_at: Reads,
        grad: Callable[[int], str],
        carry: Callable[[int], str],
        first: Callable[[int], str],
    ) -> list[str]:
        """The values of one step backward. grad: of an output by its place; carry,
        first: gradients of the states, and states before the first step, by their place.
        """
        graph, plan, name = self.graph, self.plan, self.name_of("n")
        read = {arg for k in (*plan.recomputed, *plan.backward) for arg in graph.nodes[k].args}
        read |= {k for n, k in graph.outputs.items() if n.startswith("gradient ")}
        lines = self.load_kept("n", "")
        for k in plan.inputs:
            if k in read:
                lines.append(f"const Lane<T> n{k} = {input_at(graph.nodes[k].name, '')};")
        lines += self.states_before(input_at, first)
        lines += [self.made(k, name, "n") for k in plan.recomputed]
        for k in plan.backward:
            node = graph.nodes[k]
            if node.op != "input":
                lines.append(self.made(k, name, "n"))
            elif (result := node.name.removeprefix("gradient ")) in self.traced.results:
                value = grad(self.traced.results.index(result))
                lines.append(f"const Lane<T> n{k} = {value};")
            else:
                lines.append(f"const Lane<T> n{k} = {carry(self.traced.smooth.index(result))};")
        used = read | {arg for k in plan.before for arg in graph.nodes[k].args}
        return [*self.there(used), *lines]

    def states_before(self, input_at: Reads, first: Callable[[int], str]) -> list[str]:
        """The states before the step that are computed from what the step before kept."""
        graph, plan = self.graph, self.plan
        computed = [name for name, how in plan.states.items() if how == "computed"]
        if not computed:
            return []
        at = {s: self.inputs[f"state {s}"] for s in computed}
        lines = [f"Lane<T> n{at[s]};" for s in computed]
        start = [f"n{at[s]} = {first(self.traced.states.index(s))};" for s in computed]
        name = self.name_of("b")
        body = self.load_kept("b", "_before")
        for k in plan.inputs:
            value = input_at(graph.nodes[k].name, "_before")
            body.append(f"[[maybe_unused]] const Lane<T> b{k} = {value};")
        body += [self.made(k, name, "b") for k in plan.before]
        body += [f"n{at[s]} = {self.real(graph.outputs[f'state {s}'], name)};" for s in computed]
        return [*lines, "if constexpr (kFirst) {", *start, "} else {", *body, "}"]

    def gradient(self, key: str) -> str | None:
        """A gradient by its name, None where nothing depends on it."""
        outputs = self.graph.outputs
        return self.name_of("n")(outputs[key]) if key in outputs else None

    def gradients(
        self,
        dx: Callable[[int, str], str],
        carry: Callable[[int], str],
        total: Callable[[int], str],
    ) -> list[str]:
        """Where the results of a step backward go. dx: stores a value as the gradient of an input
        by its place; carry, total: addresses by place.
        """
        lines = [
            dx(place, self.gradient(f"gradient {name}") or "Lane<T>{}")
            for place, name in enumerate(self.traced.currents)
        ]
        for place, state in enumerate(self.traced.smooth):
            value = self.gradient(f"gradient state {state}") or "Lane<T>{}"
            lines.append(f"store({carry(place)}, {value});")
        for place, parameter in enumerate(self.traced.learned):
            learned = self.gradient(f"gradient parameter {parameter}")
            if learned is not None:
                at = total(place)
                lines.append(f"store({at}, load({at}) + {learned});")
        return lines
