"""From the arguments of a call to the form of a neuron's graph, as generated kernels share it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from spikegrad.step import Step
from spikegrad.step.describe import operations
from spikegrad.step.keep import Plan, plan
from spikegrad.step.lower import NotLowered
from spikegrad.step.trace import SURROGATE, Form, Traced, trace
from spikegrad.surrogate import Surrogate
from spikegrad.tracing import constant
from spikegrad.types import Reset, Value

__all__ = [
    "MOST_BYTES",
    "SEGMENT",
    "Known",
    "everything_learned",
    "form_of",
    "known_of",
    "names_learned",
    "obstacle_to_step",
    "recomputed",
    "surrogate_rows",
    "traced",
]

SEGMENT = 16
"""Steps between kept states where the rest is computed again: one segment stays in the caches."""
MOST_BYTES = 8.0
"""A neuron-step: above it, computing again is faster than writing and reading."""
FEW_OPERATIONS = 16
"""So many cost less than to write and read `MOST_BYTES`: with AVX2 CUBALIF and ALIF, everything
learned, 24 % and 12 % faster when recomputed; SEAdLIF with its 19 operations 7 % slower."""


def surrogate_rows(record: Surrogate, slope: Tensor | None) -> dict[str, Value]:
    """Slope, amplitude of the derivative and gain, as a program reads them."""
    if slope is None:
        amplitude = record.peak / record.family.peak(**dict(record.parameters))
        return dict(zip(SURROGATE, (record.slope, amplitude, record.gain), strict=True))
    values = (slope, record.gain * slope.detach(), record.gain)
    return dict(zip(SURROGATE, values, strict=True))


def names_learned(rows: Mapping[str, Value]) -> tuple[str, ...]:
    """The parameters that ask for a gradient."""
    if not torch.is_grad_enabled():
        return ()
    return tuple(n for n, v in rows.items() if isinstance(v, Tensor) and v.requires_grad)


def everything_learned(definition: Step, record: Surrogate) -> tuple[str, ...]:
    """All that a layer of these neurons can learn, in the order of the programs' rows."""
    slope = definition.spikes and record.family.has_slope and record.has_primitive
    return (*definition.reads, *(SURROGATE[:1] if slope else ()))


Known = tuple[tuple[str, float], ...]


def known_of(definition: Step, rows: Mapping[str, Value]) -> Known:
    """The parameters that are 0 or 1 for all neurons and are not learned: `step/simplify.py`."""
    found = []
    for name in (*definition.reads, "dt"):
        value = rows[name]
        if isinstance(value, Tensor):
            if value.numel() != 1 or value.requires_grad or torch.compiler.is_compiling():
                continue
            value = value.item()
        if value in (0.0, 1.0):
            found.append((name, float(value)))
    return tuple(found)


def form_of(
    definition: Step,
    record: Surrogate,
    reset: Reset,
    detach: bool,
    refractory: bool,
    learned: tuple[str, ...],
    known: Known = (),
) -> Form:
    """What a graph depends on: of a surrogate its function and shape alone.

    Raises NotLowered for escape noise with a factor in its probability, which no graph has.
    """
    if not definition.spikes:
        return Form(None, "none", True, False, learned, 0, known)
    if definition.mode.word == "escape" and (record.normalisation, record.gain) != ("area", 1.0):
        raise NotLowered("its surrogate has another normalisation or gain than the usual ones")
    content = record.family.content
    return Form(plain(record), reset, detach, refractory, learned, content, known)


@lru_cache(maxsize=256)
def plain(record: Surrogate) -> Surrogate:
    """A surrogate of slope 1 and area 1: slope, amplitude and gain are a program's arguments."""
    slope = 1.0 if record.family.has_slope else record.slope
    return dataclasses.replace(record, slope=slope, normalisation="area", gain=1.0)


@lru_cache(maxsize=512)
def traced(definition: Step, form: Form, *, words: bool = False) -> tuple[Traced, Plan]:
    """The graph of a step and what is kept of it.

    words: where spikes and the surrogate's support are known as bits in any case.
    """
    graph = graph_of(definition, form)
    return graph, plan(graph, words=words)


@lru_cache(maxsize=512)
def graph_of(definition: Step, form: Form) -> Traced:
    """The graph of a step."""
    return trace(definition, form)


def recomputed(graph: Traced, plan: Plan) -> bool:
    """Whether a scan is faster when it computes a segment again than when it keeps each step."""
    cheap = operations(graph)[0] <= FEW_OPERATIONS
    return plan.bytes_kept > MOST_BYTES or (plan.bytes_kept == MOST_BYTES and cheap)


@constant
def obstacle_to_step(definition: Step, surrogate: Surrogate | None) -> str:
    """Why a step has no native form, or ""."""
    record = definition.surrogate if surrogate is None else surrogate
    return obstacle(definition, record, record.family.content if definition.spikes else 0)


@lru_cache(maxsize=512)
def obstacle(definition: Step, record: Surrogate, content: int) -> str:
    """The same for a surrogate's function."""
    try:
        traced(definition, form_of(definition, record, definition.reset, True, False, ()))
    except NotLowered as error:
        return str(error)
    return ""
