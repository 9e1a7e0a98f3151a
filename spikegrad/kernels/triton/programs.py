"""Generated programs by their keys, which operators are given instead of the program."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from spikegrad.errors import UserError, message
from spikegrad.kernels.emit import Program, triton
from spikegrad.kernels.emit.triton_feedback import triton_feedback
from spikegrad.kernels.forms import form_of, traced
from spikegrad.step import Step
from spikegrad.surrogate import Surrogate
from spikegrad.tracing import constant
from spikegrad.types import Reset

__all__ = ["Loaded", "loaded", "program_of"]

PROGRAMS: dict[int, Program] = {}


class Loaded(NamedTuple):
    """A program that this process knows.

    key: of its text; spikes: its output is 1 and 0; bytes_kept: of a neuron-step, where the
    backward pass computes nothing again.
    """

    key: int
    spikes: bool
    bytes_kept: float


@constant
def loaded(
    definition: Step,
    record: Surrogate,
    content: int,
    reset: Reset,
    detach: bool,
    refractory: bool,
    learned: tuple[str, ...],
    each: bool,
    double: bool,
    fed: bool,
) -> Loaded:
    """The program of a call: traced, planned and written when it is first asked for.

    content: of the surrogate's function, which may change under one name; fed: with feedback.
    Raises NotLowered for a step without a graph.
    """
    return made(definition, record, content, reset, detach, refractory, learned, each, double, fed)


@lru_cache(maxsize=512)
def made(
    definition: Step,
    record: Surrogate,
    content: int,
    reset: Reset,
    detach: bool,
    refractory: bool,
    learned: tuple[str, ...],
    each: bool,
    double: bool,
    fed: bool,
) -> Loaded:
    """`loaded`, once for each."""
    form = form_of(definition, record, reset, detach, refractory, learned)
    graph, kept = traced(definition, form)
    emit = triton_feedback if fed else triton
    program = emit(definition.name, graph, kept, each=each, double=double)
    PROGRAMS[program.key] = program
    return Loaded(program.key, program.spikes, kept.bytes_kept * (2 if double else 1))


def program_of(key: int) -> Program:
    """A program by its key; raises UserError for one of another process."""
    found = PROGRAMS.get(key)
    if found is None:
        raise UserError(
            message(
                "expected a Triton program that this process has written",
                f"one of another process ({key})",
                "call the network once, or compile it again here",
            )
        )
    return found
