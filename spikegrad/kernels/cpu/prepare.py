"""The program of a neuron, from its definition to functions that are loaded."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, NamedTuple

from spikegrad.kernels.cpu.compiler import BuildError
from spikegrad.kernels.cpu.step_library import loaded
from spikegrad.kernels.emit import Program, rows, scan
from spikegrad.kernels.forms import Known, everything_learned, form_of, recomputed, traced
from spikegrad.step import Step
from spikegrad.step.trace import Form
from spikegrad.surrogate import Surrogate
from spikegrad.tracing import constant
from spikegrad.types import Reset

__all__ = ["Kind", "Loaded", "emitted", "prepared"]

Kind = Literal["scan", "rows"]
"""A scan over time of a current, or one step of some rows inside a layer."""


class Loaded(NamedTuple):
    """A program that is loaded. key: of its text; recompute: whether a scan is faster when states
    are kept now and then alone and the rest is computed again.
    """

    key: int
    program: Program
    recompute: bool


@constant
def prepared(*what: Any) -> Loaded:
    """The program of a call, loaded: see `program_of`, of which these are the arguments.

    Raises BuildError where it cannot be compiled.
    """
    found = program_of(*what)
    if isinstance(found, BuildError):
        raise found
    return found


@lru_cache(maxsize=512)
def program_of(
    kind: Kind,
    definition: Step,
    record: Surrogate,
    content: int,
    reset: Reset,
    detach: bool,
    refractory: bool,
    learned: tuple[str, ...],
    known: Known,
    each: bool,
    double: bool,
) -> Loaded | BuildError:
    """Trace, plan, emit, compile and load, or why not.

    content: of the surrogate's function, which may change under one name.
    """
    everything = everything_learned(definition, record)
    tries = [(learned, known, each)]
    if not double and set(learned) <= set(everything):
        # Without a compiler a program that a wheel has may serve, with work for nothing.
        tries += [(learned, (), each), (everything, (), True)]
    why = BuildError("")
    for names, numbers, own in tries:
        form = form_of(definition, record, reset, detach, refractory, names, numbers)
        try:
            program, kept = emitted(kind, definition, form, own, double)
            return Loaded(loaded(definition.name, program), program, kept)
        except BuildError as error:
            why = error
    return why


def emitted(
    kind: Kind, definition: Step, form: Form, each: bool, double: bool
) -> tuple[Program, bool]:
    """A program, and whether it is faster to compute again than to keep."""
    graph, plan = traced(definition, form, words=kind == "rows")
    emit = rows if kind == "rows" else scan
    program = emit(definition.name, graph, plan, each=each, double=double)
    return program, recomputed(graph, plan)
