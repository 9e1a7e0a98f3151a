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
from spikegrad.step.trace import Traced

__all__ = ["triton_feedback"]


def triton_feedback(name: str, traced: Traced, plan: Plan, *, each: bool, double: bool) -> Program:
    """The program of a step with feedback. each: parameters are one per neuron; double: in float64.

    What enters the neurons is nowhere in memory, so it is kept where the backward pass reads it.
    """
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
    ahead, normed = 1, False

    def __init__(self, traced: Traced, plan: Plan, each: bool, double: bool) -> None:
        super().__init__(traced, plan, each, double)
        # Registers are few beside a product: only what gives the states before is loaded ahead.
        self.behind = 1 if plan.before else 0

    def before(self) -> list[str]:
        load = "tl.load(spikes + t0 * row_step + j, mask=inside, other=0.0).to(REAL)"
        return ["if HELD:", f"    sent = {load}"]

    def current(self, prefix: str, loaded: str) -> list[str]:
        x = f"{prefix}{self.inputs['x']}"
        product = "fed_back(sent, w, spikes + t * row_step, weight, 1, features"
        return [
            *super().current(prefix, loaded),
            f"fed = {product}, features, batch, HELD, PRECISION, WIDE, ROWS, WIDTH, PART)",
            f"{x} = {x} + fed",
        ]

    def sent(self, y: str, output: bool) -> list[str]:
        lines = [f"sent = {y}"]
        if output:
            # Another thread may load what this one has stored.
            barrier = ["if not HELD:", "    tl.debug_barrier()"]
            lines += ["tl.store(y + t * row_step + j, sent, mask=inside)", *barrier]
        return lines

    def arriving(self) -> str:
        return "y_0.to(REAL) + fed"

    def passed(self) -> list[str]:
        product = "fed_back(into, w, dx + t * row_step, weight, features, 1"
        return [
            "into = tl.where(inside, into, 0.0)",
            *super().passed(),
            "if not HELD:",
            "    tl.debug_barrier()",
            f"fed = {product}, features, batch, HELD, PRECISION, WIDE, ROWS, WIDTH, PART)",
        ]
