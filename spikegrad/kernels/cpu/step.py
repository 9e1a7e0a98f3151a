"""Neurons that are written as one step, in one native call generated from the step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from spikegrad.kernels.cpu.step_library import functions
from spikegrad.kernels.cpu.step_operator import Call, run
from spikegrad.kernels.emit import Program, cpp
from spikegrad.step import Step
from spikegrad.step.keep import Plan, plan
from spikegrad.step.loop import firing_of, starts, values_of
from spikegrad.step.lower import NotLowered
from spikegrad.step.sequence import enter
from spikegrad.step.trace import Form, Traced, trace
from spikegrad.surrogate import Surrogate
from spikegrad.types import Reset, State, Value

__all__ = ["obstacle_to_step", "step"]

SEGMENT = 16
"""Steps between kept states where the rest is computed again: one segment stays in the caches."""
MOST_BYTES = 8.0
"""A neuron-step: above it, computing again is faster than writing and reading."""


def step(
    definition: Step,
    x: Tensor,
    state: State = None,
    *,
    dt: float = 1.0,
    surrogate: Surrogate | None = None,
    slope: Tensor | None = None,
    reset: Reset | None = None,
    detach_reset: bool = True,
    refractory: int = 0,
    lean: bool = False,
    **values: Value,
) -> tuple[Tensor, State]:
    """The neuron over x `[T, B, *features]`: see `spikegrad.step.loop.run`.

    lean: keep states now and then alone, and compute the rest again for the backward pass.
    Raises NotLowered for a step without a graph, and as the loop.
    """
    values = values_of(definition, values, dt)
    firing_of(definition, surrogate, slope, reset, detach_reset, refractory)  # checks
    current = enter(x, state, definition.State, **values)
    now, silent = starts(definition, current, state, values, refractory)
    record = definition.surrogate if surrogate is None else surrogate
    chosen = definition.reset if reset is None else reset
    rows = {**values, "dt": dt}
    if definition.spikes:
        rows |= surrogate_rows(record, slope)
    if refractory:
        rows["refractory steps"] = refractory
    form = form_of(definition, record, chosen, detach_reset, refractory > 0, rows)
    each = any(isinstance(value, Tensor) and value.numel() > 1 for value in rows.values())
    program, bytes_kept = program_of(definition, form, each, current.dtype == torch.float64)
    shape = current.shape
    flat = current.reshape(shape[0], shape[1], -1)
    if not (flat.stride(2) == 1 and flat.stride(1) == flat.shape[2]):
        flat = flat.contiguous()
    before = [*now.values(), *([silent.to(current.dtype)] if silent is not None else [])]
    begin = torch.stack([part.reshape(shape[1], -1) for part in before])
    params = matrix(rows, program, shape[2:], current.dtype)
    wanted = flat.requires_grad or begin.requires_grad or params.requires_grad
    keep = torch.is_grad_enabled() and wanted
    segment = SEGMENT if keep and (lean or bytes_kept > MOST_BYTES) else 0
    call = Call(program, functions(definition.name, program.text), keep, segment)
    y, *_, ends = run(flat, begin, params, call)
    after = [end.reshape(shape[1:]) for end in ends.unbind(0)]
    if silent is not None:
        after[-1] = after[-1].to(torch.int32)
    elif definition.spikes:
        after.append(None)  # type: ignore[arg-type]
    return y.reshape(shape).to(x.dtype), definition.State(*after)


def surrogate_rows(record: Surrogate, slope: Tensor | None) -> dict[str, Value]:
    """Slope, amplitude of the derivative and gain, as a program reads them."""
    if slope is None:
        amplitude = record.peak / record.family.peak(**dict(record.parameters))
        return {"slope": record.slope, "amplitude": amplitude, "gain": record.gain}
    return {"slope": slope, "amplitude": record.gain * slope.detach(), "gain": record.gain}


def form_of(
    definition: Step,
    record: Surrogate,
    reset: Reset,
    detach: bool,
    refractory: bool,
    rows: Mapping[str, Value],
) -> Form:
    """What the graph depends on: a surrogate without what the program is given as numbers."""
    learned = tuple(
        name
        for name, value in rows.items()
        if isinstance(value, Tensor) and value.requires_grad and torch.is_grad_enabled()
    )
    if not definition.spikes:
        return Form(None, "none", True, False, learned, 0)
    family = record.family
    return Form(plain(record), reset, detach, refractory, learned, family.content)


@lru_cache(maxsize=256)
def plain(record: Surrogate) -> Surrogate:
    """A surrogate of slope 1 and area 1."""
    slope = 1.0 if record.family.has_slope else record.slope
    return dataclasses.replace(record, slope=slope, normalisation="area", gain=1.0)


@lru_cache(maxsize=512)
def traced(definition: Step, form: Form) -> tuple[Traced, Plan]:
    """The graph of a step and what is kept of it."""
    graph = trace(definition, form)
    return graph, plan(graph)


@lru_cache(maxsize=512)
def program_of(definition: Step, form: Form, each: bool, double: bool) -> tuple[Program, float]:
    """The generated program, and the bytes a neuron-step that it keeps."""
    graph, kept = traced(definition, form)
    program = cpp(definition.name, graph, kept, each=each, double=double)
    return program, kept.bytes_kept * (2 if double else 1)


def obstacle_to_step(definition: Step, surrogate: Surrogate | None) -> str:
    """Why a step has no native form, or ""."""
    record = definition.surrogate if surrogate is None else surrogate
    return obstacle(definition, record, record.family.content if definition.spikes else 0)


@lru_cache(maxsize=512)
def obstacle(definition: Step, record: Surrogate, content: int) -> str:
    """The same for a surrogate's function."""
    try:
        traced(definition, form_of(definition, record, definition.reset, True, False, {}))
    except NotLowered as error:
        return str(error)
    return ""


def matrix(
    rows: Mapping[str, Value], program: Program, features: torch.Size, dtype: torch.dtype
) -> Tensor:
    """The parameters as `[rows, 1 or N]`."""
    values = [rows[name] for name in program.parameters]
    if not program.each:
        if not any(isinstance(v, Tensor) and v.requires_grad for v in values):
            numbers = [v.item() if isinstance(v, Tensor) else v for v in values]
            return torch.tensor(numbers, dtype=dtype).unsqueeze(1)
        return torch.stack([torch.as_tensor(v, dtype=dtype).reshape(1) for v in values])
    return torch.stack(
        [torch.as_tensor(v, dtype=dtype).expand(features).reshape(-1) for v in values]
    )
