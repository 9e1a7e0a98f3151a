"""Neurons that are written as one step, in one native call generated from the step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.kernels.cpu.compiler import BuildError
from spikegrad.kernels.cpu.instructions import LANE_BYTES
from spikegrad.kernels.cpu.library import isa
from spikegrad.kernels.cpu.step_library import loaded
from spikegrad.kernels.cpu.step_operator import run, words_of
from spikegrad.kernels.cpu.strides import is_channels_last
from spikegrad.kernels.emit import cpp
from spikegrad.kernels.forms import (
    MOST_BYTES,
    SEGMENT,
    Known,
    everything_learned,
    form_of,
    known_of,
    names_learned,
    surrogate_rows,
    traced,
)
from spikegrad.step import Step
from spikegrad.step.loop import firing_of, starts, values_of
from spikegrad.step.sequence import enter
from spikegrad.step.trace import Form
from spikegrad.surrogate import Surrogate
from spikegrad.types import Reset, State, Value, map_state

__all__ = ["step"]


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
    A channels-last x is read as it lies where no neuron has parameters of its own, and its outputs
    lie alike. Raises NotLowered for a step without a graph, and as the loop.
    """
    if is_channels_last(x) and alike(values, slope):
        start = map_state(lambda part: part.permute(0, 2, 3, 1), state)
        y, end = step(
            definition,
            x.permute(0, 1, 3, 4, 2),
            start,
            dt=dt,
            surrogate=surrogate,
            slope=slope,
            reset=reset,
            detach_reset=detach_reset,
            refractory=refractory,
            lean=lean,
            **values,
        )
        return y.movedim(-1, -3), map_state(lambda part: part.movedim(-1, -3), end)
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
    learned = names_learned(rows)
    parts = [*now.values(), *([silent.to(current.dtype)] if silent is not None else [])]
    wanted = bool(learned) or any(part.requires_grad for part in (current, *parts))
    made = prepared(
        definition,
        record,
        record.family.content,
        chosen,
        detach_reset,
        refractory > 0,
        learned,
        known_of(definition, rows),
        not alike(rows, None),
        current.dtype == torch.float64,
        torch.is_grad_enabled() and wanted,
        lean,
    )
    shape = current.shape
    flat = dense(current.reshape(shape[0], shape[1], -1))
    begin = torch.stack([part.reshape(shape[1], -1) for part in parts])
    params = matrix(rows, made, shape[2:], current)
    y, _, _, _, ends = run(made.key, flat, begin, params, list(made.words))
    after = [end.reshape(shape[1:]) for end in ends.unbind(0)]
    if silent is not None:
        after[-1] = after[-1].to(torch.int32)
    elif definition.spikes:
        after.append(None)  # type: ignore[arg-type]
    return y.reshape(shape).to(x.dtype), definition.State(*after)


def alike(values: Mapping[str, Value], slope: Tensor | None) -> bool:
    """Whether no parameter is one per neuron."""
    return all(not isinstance(v, Tensor) or v.numel() == 1 for v in (*values.values(), slope))


def dense(x: Tensor) -> Tensor:
    """x `[T, B, N]` with the columns of a step side by side; its steps may be the same one."""
    if torch.compiler.is_compiling():
        return x.contiguous()
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()


class Prepared(NamedTuple):
    """A program as the operator takes it.

    key: of its text; words: of `step_operator.Words`; parameters: the rows' names; each: whether
    they are one per neuron.
    """

    key: int
    words: tuple[int, ...]
    parameters: tuple[str, ...]
    each: bool


@torch.compiler.assume_constant_result
def prepared(*what: Any) -> Prepared:
    """The program of a call, loaded: see `program_of`, of which these are the arguments."""
    return program_of(*what)


@lru_cache(maxsize=512)
def program_of(
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
    keep: bool,
    lean: bool,
) -> Prepared:
    """Trace, plan, emit, compile and load. content: of the surrogate's function, which may
    change under one name.
    """
    everything = everything_learned(definition, record)
    tries = [(learned, known, each)]
    if not double and set(learned) <= set(everything):
        # Without a compiler a program that a wheel has may serve, with work for nothing.
        tries += [(learned, (), each), (everything, (), True)]
    for place, (names, numbers, own) in enumerate(tries):
        form = form_of(definition, record, reset, detach, refractory, names, numbers)
        try:
            return prepare(definition, form, own, double, keep, lean)
        except BuildError:
            if place == len(tries) - 1:
                raise
    raise AssertionError


def prepare(
    definition: Step, form: Form, each: bool, double: bool, keep: bool, lean: bool
) -> Prepared:
    """The same for a form."""
    graph, kept = traced(definition, form)
    program = cpp(definition.name, graph, kept, each=each, double=double)
    much = kept.bytes_kept * (2 if double else 1) > MOST_BYTES
    key = loaded(definition.name, program.text)
    lanes = LANE_BYTES[isa()] // (8 if double else 4)
    segment = SEGMENT if keep and (lean or much) else 0
    words = words_of(program, lanes=lanes, keep=keep, segment=segment)
    return Prepared(key, tuple(words), program.parameters, each)


def matrix(
    rows: Mapping[str, Value], made: Prepared, features: torch.Size, current: Tensor
) -> Tensor:
    """The parameters as `[rows, 1 or N]`."""
    values = [rows[name] for name in made.parameters]
    dtype, compiling = current.dtype, torch.compiler.is_compiling()
    tensors = [v for v in values if isinstance(v, Tensor)]
    if not made.each and not compiling and not any(v.requires_grad for v in tensors):
        numbers = [v.item() if isinstance(v, Tensor) else v for v in values]
        return torch.tensor(numbers, dtype=dtype, device="cpu").unsqueeze(1)
    shape = features if made.each else torch.Size((1,))

    def row(value: Value) -> Tensor:
        if not isinstance(value, Tensor):
            return current.new_full((shape.numel(),), value)
        value = value.to(dtype)
        return (value.expand(shape) if made.each else value).reshape(-1)

    return torch.stack([row(value) for value in values])
