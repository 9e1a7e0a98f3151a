"""Triton from a step's graph for neurons that are fed back their last spikes through a weight.

One program has some samples and all their neurons, and runs all steps: what a neuron gets at a step
depends on what every other neuron of its sample sent at the step before.
"""

from __future__ import annotations

from dataclasses import replace

from spikegrad.kernels.emit.program import Program
from spikegrad.kernels.emit.triton import Writer
from spikegrad.kernels.emit.triton_feedback_template import TEMPLATE
from spikegrad.step.keep import Plan
from spikegrad.step.lower import NotLowered
from spikegrad.step.trace import Traced

__all__ = ["triton_feedback"]


def triton_feedback(name: str, traced: Traced, plan: Plan, *, each: bool, double: bool) -> Program:
    """The program of a step with feedback. each: parameters are one per neuron; double: in float64.

    What enters the neurons is nowhere in memory, so it is kept where the backward pass reads it.
    Raises NotLowered for an output that is not 1 and 0.
    """
    if traced.spike is None:
        raise NotLowered("its output is not 1 and 0, and only spikes are fed back in one kernel")
    if plan.reads_input:
        current = traced.graph.inputs()["x"]
        plan = replace(plan, reals=(*plan.reals, current), reads_input=False)
    text = Fed(traced, plan, each, double).filled(TEMPLATE, name)
    return Program.of(text, traced, plan, each=each, double=double)


class Fed(Writer):
    """The statements of one program with feedback.

    Variables besides those of `Writer`: sent, the spikes of the last step; fed, what the neurons
    get of them, and in the backward pass the gradient that they get.
    """

    block, column = "[ROWS, WIDTH]", "(neuron % width)[None, :]"
    ahead = 1

    def __init__(self, traced: Traced, plan: Plan, each: bool, double: bool) -> None:
        super().__init__(traced, plan, each, double)
        self.normed = False
        # Registers are few beside a product: only what gives the states before is loaded ahead.
        self.behind = 1 if "computed" in plan.states.values() else 0

    def places(self) -> str:
        return "source = j"

    def before(self) -> list[str]:
        load = "tl.load(first + j, mask=inside, other=0.0).to(REAL)"
        return [*super().before(), "if HELD:", f"    sent = {load}"]

    def current(self, prefix: str, place: int, loaded: str, *, output: bool) -> list[str]:
        x = f"{prefix}{self.inputs['x']}"
        # A forward pass reads what its own threads have stored; later all spikes are known.
        source = 'rows, t, turn, "rows"' if output else 'bits, t, 1, "bits"'
        product = f"fed_back(sent, w, first, {source}, row_step, weight, 1, features, features"
        return [
            *super().current(prefix, place, loaded, output=output),
            f"fed = {product}, batch, HELD, PRECISION, WIDE, ROWS, WIDTH, PART)",
            f"{x} = {x} + fed",
        ]

    def sent(self, y: str, output: bool) -> list[str]:
        spike = self.traced.spike
        assert spike is not None
        if not output:
            return []
        at = "bits + (t // 8) * row_step + j"
        packed = self.filled_with("sent_bits", self.name_of("n")(spike), "t", at)
        return [
            f"sent = {y}",
            "if BITS:",
            *(f"    {line}" for line in packed),
            "if STORE:",
            "    tl.store(rows + (t % turn) * row_step + j, sent, mask=inside)",
            # Another thread may load what this one has stored.
            "if not HELD:",
            "    tl.debug_barrier()",
        ]

    def arriving(self, place: int) -> str:
        return f"{super().arriving(place)} + fed"

    def passed(self, place: int) -> list[str]:
        product = 'fed_back(into, w, dx, dx, t, 1, "numbers", row_step, weight, features, 1'
        return [
            "into = tl.where(inside, into, 0.0)",
            *super().passed(place),
            "if not HELD:",
            "    tl.debug_barrier()",
            f"fed = {product}, features, batch, HELD, PRECISION, WIDE, ROWS, WIDTH, PART)",
        ]
