"""Neurons that are written as one step, in one Triton kernel generated from the step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.kernels.emit import Program, triton
from spikegrad.kernels.emit.triton_feedback import triton_feedback
from spikegrad.kernels.forms import (
    MOST_BYTES,
    SEGMENT,
    form_of,
    names_learned,
    surrogate_rows,
    traced,
)
from spikegrad.kernels.triton.launch import Call
from spikegrad.kernels.triton.operator import run
from spikegrad.step import Step
from spikegrad.step.loop import firing_of, starts, values_of
from spikegrad.step.sequence import enter
from spikegrad.step.trace import Form
from spikegrad.surrogate import Surrogate
from spikegrad.types import Reset, State, Value

__all__ = ["HALF", "Prepared", "finished", "prepared", "state_of"]

HALF = (torch.float16, torch.bfloat16)


class Prepared(NamedTuple):
    """What the kernel of one call is given.

    x: `[T, B, N]`, dense in `[B, N]`; bias, scale, shift: `[C]`; starts: `[states, B, N]`;
    parameters: `[rows, 1 or N]`.
    """

    x: Tensor
    bias: Tensor | None
    scale: Tensor | None
    shift: Tensor | None
    starts: Tensor
    parameters: Tensor
    call: Call


def prepared(
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
    bias: Tensor | None = None,
    norm_scale: Tensor | None = None,
    norm_shift: Tensor | None = None,
    feedback: tuple[Tensor, ...] = (),
    **values: Value,
) -> Prepared:
    """Check and put together a call over x `[T, B, *features]`: see `spikegrad.step.loop.run`.

    lean: keep states now and then alone, and compute the rest again for the backward pass; bias:
    `[C]`, the first of the features, added to x in the states' dtype; norm_scale, norm_shift:
    `[C]`, the sum is multiplied by and added to; feedback: of neurons that are fed back, their
    weight and the spikes before, which may ask for a gradient.
    Raises NotLowered for a step without a graph, and as the loop.
    """
    values = values_of(definition, values, dt)
    firing_of(definition, surrogate, slope, reset, detach_reset, refractory)  # checks
    # The kernel converts half types as it reads them: one step is enough for what follows.
    one = enter(x[:1] if x.dtype in HALF else x, state, definition.State, **values)
    now, silent = starts(definition, one, state, values, refractory)
    record = definition.surrogate if surrogate is None else surrogate
    chosen = definition.reset if reset is None else reset
    rows = {**values, "dt": dt}
    if definition.spikes:
        rows |= surrogate_rows(record, slope)
    if refractory:
        rows["refractory steps"] = refractory
    learned = names_learned(rows)
    form = form_of(definition, record, chosen, detach_reset, refractory > 0, learned)
    each = any(isinstance(value, Tensor) and value.numel() > 1 for value in rows.values())
    double = one.dtype == torch.float64
    program, bytes_kept = program_of(definition, form, each, double, len(feedback) > 0)
    shape = x.shape
    flat = x.reshape(shape[0], shape[1], -1)
    if not (flat.stride(2) == 1 and flat.stride(1) == flat.shape[2]):
        flat = flat.contiguous()
    before = [*now.values(), *([silent.to(one.dtype)] if silent is not None else [])]
    begin = torch.stack([part.reshape(shape[1], -1) for part in before])
    parameters = matrix(rows, program, shape[2:], one)
    added, scale, shift = (
        None if given is None else given.reshape(-1).to(one.dtype).contiguous()
        for given in (bias, norm_scale, norm_shift)
    )
    tensors = [
        t for t in (flat, begin, parameters, added, scale, shift, *feedback) if t is not None
    ]
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    segment = SEGMENT if lean or bytes_kept > MOST_BYTES else 0
    return Prepared(flat, added, scale, shift, begin, parameters, Call(program, keep, segment))


def finished(definition: Step, x: Tensor, given: Prepared) -> tuple[Tensor, State]:
    """Run the kernel; the output in x's shape and dtype, and the state."""
    y, *_, ends = run(*given)
    return y.reshape(x.shape), state_of(definition, given.call.program, ends, x.shape[1:])


def state_of(definition: Step, program: Program, ends: Tensor, shape: torch.Size) -> State:
    """The state of `[states, B, N]`, each of a shape."""
    after: list[Any] = [end.reshape(shape) for end in ends.unbind(0)]
    if "refractory" in program.states:
        after[-1] = after[-1].to(torch.int32)
    elif definition.spikes:
        after.append(None)
    return definition.State(*after)


@lru_cache(maxsize=512)
def program_of(
    definition: Step, form: Form, each: bool, double: bool, fed: bool
) -> tuple[Program, float]:
    """The generated program, and the bytes a neuron-step that it keeps; fed: with feedback."""
    graph, kept = traced(definition, form)
    emit = triton_feedback if fed else triton
    program = emit(definition.name, graph, kept, each=each, double=double)
    return program, kept.bytes_kept * (2 if double else 1)


def matrix(
    rows: Mapping[str, Value], program: Program, features: torch.Size, like: Tensor
) -> Tensor:
    """The parameters as `[rows, 1 or N]` on the input's device."""
    values = [rows[name] for name in program.parameters]
    if not any(isinstance(value, Tensor) for value in values):
        return plain_matrix(tuple(float(value) for value in values), like.dtype, like.device)
    shape = features if program.each else torch.Size([1])
    parts = [torch.as_tensor(value, dtype=like.dtype, device=like.device) for value in values]
    return torch.stack(
        [(part if program.each else part.reshape(1)).expand(shape).reshape(-1) for part in parts]
    )


@lru_cache(maxsize=256)
def plain_matrix(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Parameters that are numbers, which need to go to a device once."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device).reshape(-1, 1)
