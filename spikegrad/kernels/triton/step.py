"""Neurons that are written as one step, in one Triton kernel generated from the step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.kernels.forms import MOST_BYTES, SEGMENT, names_learned, surrogate_rows
from spikegrad.kernels.triton.calls import ScanCall
from spikegrad.kernels.triton.operator import run
from spikegrad.kernels.triton.programs import Loaded, loaded, program_of
from spikegrad.kernels.triton.spikes import FEWEST, Spikes
from spikegrad.step import Step
from spikegrad.step.context import Firing
from spikegrad.step.loop import firing_of, noise_of, starts, values_of
from spikegrad.step.sequence import enter, one_input
from spikegrad.surrogate import Surrogate
from spikegrad.tracing import constant
from spikegrad.types import Reset, State, Value

__all__ = [
    "HALF",
    "Neuron",
    "finished",
    "flat",
    "neuron_of",
    "prepared",
    "segment_of",
    "state_of",
    "wanted",
]

HALF = (torch.float16, torch.bfloat16)


class Neuron(NamedTuple):
    """The neurons of one call, its arguments checked.

    one: the first input `[T, B, *features]` in the states' dtype, of half types its first step;
    starts: `[states, B, N]`; parameters: `[rows, 1 or N]`; firing: how neurons spike in torch.
    """

    one: Tensor
    loaded: Loaded
    starts: Tensor
    parameters: Tensor
    firing: Firing | None


def neuron_of(
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
    fed: bool = False,
    **values: Value,
) -> Neuron:
    """The neurons of a call, with the arguments of `spikegrad.step.loop.run`; fed: with feedback.

    Raises NotLowered for a step without a graph, and as the loop.
    """
    values = values_of(definition, values, dt)
    firing = firing_of(definition, surrogate, slope, reset, detach_reset, refractory)  # checks
    # The kernel converts half types as it reads them: one step is enough for what follows.
    few = x[:1] if x.dtype in HALF else x
    one = one_input(enter(few, state, definition.State, definition.inputs, **values),
                    definition.inputs)  # fmt: skip
    now, silent = starts(definition, one, state, values, refractory)
    record = definition.surrogate if surrogate is None else surrogate
    rows: dict[str, Value] = {**values, "dt": dt}
    if definition.spikes:
        rows |= surrogate_rows(record, slope)
    if refractory:
        rows["refractory steps"] = refractory
    each = any(isinstance(value, Tensor) and value.numel() > 1 for value in rows.values())
    found = loaded(
        definition,
        record,
        record.family.content,
        definition.reset if reset is None else reset,
        detach_reset,
        refractory > 0,
        names_learned(rows),
        each,
        one.dtype == torch.float64,
        fed,
    )
    before = [*now.values(), *([silent.to(one.dtype)] if silent is not None else [])]
    begin = torch.stack([part.reshape(one.shape[1], -1) for part in before])
    return Neuron(one, found, begin, matrix(rows, found, each, one), firing)


def prepared(
    definition: Step,
    x: Tensor,
    state: State = None,
    *,
    lean: bool = False,
    pack: bool = False,
    bias: Tensor | None = None,
    norm_scale: Tensor | None = None,
    norm_shift: Tensor | None = None,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
    **args: Any,
) -> ScanCall:
    """Check and put together a call over x `[T, B, *features]`, of several inputs `[T, B, inputs,
    *features]`.

    lean: keep states now and then alone, and compute the rest again for the backward pass; pack:
    return spikes as bits, where the neurons return spikes; bias: `[C]`, the first of the features,
    added to x in the states' dtype; norm_scale, norm_shift: `[C]`, the sum is multiplied by and
    added to; noise, generator: as of the loop; args: of `neuron_of`.
    """
    n = neuron_of(definition, x, state, **args)
    drawn = noise_of(n.firing, n.one[:1].expand(x.shape[0], *n.one.shape[1:]), noise, generator)
    added, scale, shift = (
        None if given is None else given.reshape(-1).to(n.one.dtype).contiguous()
        for given in (bias, norm_scale, norm_shift)
    )
    rows = flat(x)
    keep = wanted(rows, n.starts, n.parameters, added, scale, shift)
    return ScanCall(
        n.loaded.key,
        rows,
        None if drawn is None else drawn.flatten(2).contiguous(),
        added,
        scale,
        shift,
        n.starts,
        n.parameters,
        keep,
        segment_of(n.loaded, lean),
        pack and n.loaded.spikes and x.shape[0] >= FEWEST,
    )


def flat(x: Tensor) -> Tensor:
    """x as `[T, B, K]`, dense in all but T."""
    rows = x.reshape(x.shape[0], x.shape[1], -1)
    if torch.compiler.is_compiling():
        return rows.contiguous()
    dense = rows.stride(2) == 1 and rows.stride(1) == rows.shape[2]
    return rows if dense else rows.contiguous()


def wanted(*tensors: Tensor | None) -> bool:
    """Whether a backward pass may follow."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def segment_of(found: Loaded, lean: bool) -> int:
    """Steps after which states are kept, 0 where every step is."""
    return SEGMENT if lean or found.bytes_kept > MOST_BYTES else 0


def finished(definition: Step, x: Tensor, given: ScanCall) -> tuple[Any, State]:
    """Run the kernel; the output in x's shape and dtype, or packed, and the state."""
    y, membrane, bits, *_, ends = run(*given)
    shape = one_input(x, definition.inputs).shape
    after = state_of(definition, ends, shape[1:])
    if given.pack:
        return Spikes(y, bits), after
    if definition.output == "both":
        return (y.reshape(shape), membrane.reshape(shape)), after
    return y.reshape(shape), after


def state_of(definition: Step, ends: Tensor, shape: torch.Size) -> State:
    """The state of `[states, B, N]`, each of a shape."""
    after: list[Any] = [end.reshape(shape) for end in ends.unbind(0)]
    if len(after) > len(definition.states):
        after[-1] = after[-1].to(torch.int32)
    elif definition.spikes:
        after.append(None)
    return definition.State(*after)


def matrix(rows: Mapping[str, Value], found: Loaded, each: bool, one: Tensor) -> Tensor:
    """The parameters as `[rows, 1 or N]` on the input's device."""
    values = [rows[name] for name in names_of(found.key)]
    compiling = torch.compiler.is_compiling()
    if not compiling and not any(isinstance(value, Tensor) for value in values):
        return plain_matrix(tuple(float(value) for value in values), one.dtype, one.device)
    shape = one.shape[2:] if each else torch.Size([1])

    def row(value: Value) -> Tensor:
        if not isinstance(value, Tensor):
            return one.new_full((shape.numel(),), value)
        value = value.to(dtype=one.dtype, device=one.device)
        return (value.expand(shape) if each else value).reshape(-1)

    return torch.stack([row(value) for value in values])


@constant
def names_of(key: int) -> tuple[str, ...]:
    """The parameters of a program in the order of its rows."""
    return program_of(key).parameters


@lru_cache(maxsize=256)
def plain_matrix(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Parameters that are numbers, which need to go to a device once."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device).reshape(-1, 1)
