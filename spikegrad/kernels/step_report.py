"""What generated kernels do and keep of a step: nothing is compiled for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from spikegrad.kernels.forms import SEGMENT, form_of, known_of, recomputed, traced
from spikegrad.step import Step
from spikegrad.step.describe import kept_in_words, operations
from spikegrad.step.keep import Plan
from spikegrad.step.lower import NotLowered
from spikegrad.step.trace import SURROGATE, Traced
from spikegrad.types import Reset, Value

__all__ = ["StepReport", "graph_of_call", "report_of_step"]


@dataclass(frozen=True)
class StepReport:
    """A step as a generated kernel runs it in float32.

    forward, backward: operations of one step; kept: what is kept of each step for the backward
    pass, in words; bytes_kept: a neuron-step; reads_input: whether the input is read again;
    recomputed: whether only the states are kept, every `segment` steps, because that is faster, and
    the rest is computed again, as it always is with lean=True; bytes_recomputed: a neuron-step
    then.
    """

    forward: int
    backward: int
    kept: tuple[str, ...]
    bytes_kept: float
    reads_input: bool
    recomputed: bool
    bytes_recomputed: float
    segment: int


def report_of_step(
    definition: Step, args: Mapping[str, Any], values: Mapping[str, Value]
) -> StepReport | str:
    """The report of a call with these arguments and values, or why the step has no native form."""
    try:
        graph, plan, _ = graph_of_call(definition, args, values)
    except NotLowered as error:
        return str(error)
    forward, backward = operations(graph)
    return StepReport(
        forward=forward,
        backward=backward,
        kept=kept_in_words(graph, plan),
        bytes_kept=plan.bytes_kept,
        reads_input=plan.reads_input,
        recomputed=recomputed(graph, plan),
        bytes_recomputed=4 * len(graph.states) / SEGMENT,
        segment=SEGMENT,
    )


def graph_of_call(
    definition: Step, args: Mapping[str, Any], values: Mapping[str, Value]
) -> tuple[Traced, Plan, bool]:
    """The graph of a call, what is kept, and whether parameters are one per neuron.

    Raises NotLowered where the step has none.
    """
    given = [*values.items(), (SURROGATE[0], args.get("slope"))]
    tensors = {name: value for name, value in given if isinstance(value, Tensor)}
    learned = tuple(name for name, value in tensors.items() if value.requires_grad)
    reset: Reset = args.get("reset") or definition.reset
    refractory = isinstance(count := args.get("refractory", 0), Tensor) or count > 0
    record = args.get("surrogate") or definition.surrogate
    known = known_of(definition, {**values, "dt": args.get("dt", 1.0)})
    detach = args.get("detach_reset", True)
    form = form_of(definition, record, reset, detach, refractory, learned, known)
    each = any(value.numel() > 1 for value in tensors.values())
    return *traced(definition, form), each
