"""What the generated kernels made of a step, in words: nothing is compiled for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from spikegrad.kernels.cpu.build import BuildError, cache_folder
from spikegrad.kernels.cpu.compiler import library_suffix
from spikegrad.kernels.cpu.instructions import in_force
from spikegrad.kernels.cpu.library import load
from spikegrad.kernels.cpu.prepare import recomputed
from spikegrad.kernels.cpu.step_library import digest
from spikegrad.kernels.emit import scan
from spikegrad.kernels.forms import SEGMENT, form_of, known_of, traced
from spikegrad.step import Step
from spikegrad.step.describe import kept_in_words, operations
from spikegrad.step.lower import NotLowered
from spikegrad.step.trace import SURROGATE
from spikegrad.types import Reset, Value

__all__ = ["StepReport", "report_of_step"]


@dataclass(frozen=True)
class StepReport:
    """A step as the CPU's kernel runs it in float32.

    forward, backward: operations of one step; kept: what is kept of each step for the backward
    pass, in words; bytes_kept: a neuron-step; reads_input: whether the input is read again;
    recomputed: whether only the states are kept, every `segment` steps, because that is faster, and
    the rest is computed again, as it always is with lean=True; bytes_recomputed: a neuron-step
    then; made: the library, or that it is not there yet, or why there is none.
    """

    forward: int
    backward: int
    kept: tuple[str, ...]
    bytes_kept: float
    reads_input: bool
    recomputed: bool
    bytes_recomputed: float
    segment: int
    made: str


def report_of_step(
    definition: Step, args: Mapping[str, Any], values: Mapping[str, Value]
) -> StepReport | str:
    """The report of a call with these arguments and values, or why the step has no native form."""
    given = [*values.items(), (SURROGATE[0], args.get("slope"))]
    tensors = {name: value for name, value in given if isinstance(value, Tensor)}
    learned = tuple(name for name, value in tensors.items() if value.requires_grad)
    reset: Reset = args.get("reset") or definition.reset
    refractory = isinstance(count := args.get("refractory", 0), Tensor) or count > 0
    record = args.get("surrogate") or definition.surrogate
    detach = args.get("detach_reset", True)
    try:
        known = known_of(definition, {**values, "dt": args.get("dt", 1.0)})
        form = form_of(definition, record, reset, detach, refractory, learned, known)
        graph, plan = traced(definition, form)
    except NotLowered as error:
        return str(error)
    each = any(value.numel() > 1 for value in tensors.values())
    program = scan(definition.name, graph, plan, each=each, double=False)
    bytes_kept = plan.bytes_kept
    forward, backward = operations(graph)
    return StepReport(
        forward=forward,
        backward=backward,
        kept=kept_in_words(graph, plan),
        bytes_kept=bytes_kept,
        reads_input=plan.reads_input,
        recomputed=recomputed(graph, plan),
        bytes_recomputed=4 * len(graph.states) / SEGMENT,
        segment=SEGMENT,
        made=made(program.text),
    )


def made(text: str) -> str:
    """Where a program's library is."""
    if why := load():
        return why
    chosen = in_force()
    try:
        path = cache_folder() / "steps" / f"{digest(text, chosen)}{library_suffix()}"
    except BuildError as error:
        return str(error)
    if path.exists():
        return f"C++ for {chosen.name}, compiled: {path}"
    return f"C++ for {chosen.name}, compiled at the first call"
