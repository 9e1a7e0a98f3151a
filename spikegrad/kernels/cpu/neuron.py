"""A neuron as the kernels take it: a program, starting states, a matrix of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from spikegrad.functional.steps import STEPS
from spikegrad.kernels.cpu.prepare import Kind, Loaded, prepared
from spikegrad.kernels.forms import known_of, names_learned, surrogate_rows
from spikegrad.kernels.obstacles import definition_of
from spikegrad.step import Step
from spikegrad.step.context import Firing
from spikegrad.step.loop import firing_of, starts, values_of
from spikegrad.step.sequence import enter, one_input
from spikegrad.surrogate import Surrogate
from spikegrad.types import Reset, State, Value

__all__ = ["Neuron", "alike", "described", "named", "shareable", "usual"]


class Neuron(NamedTuple):
    """One call's neuron.

    current: the input in the dtype of the states (of a `usual` neuron nothing but its dtype), of
    several inputs `[T, B, inputs, *features]`;
    states: before the first step, `[states, 1 or B, 1 or N]`; params: `[parameters, 1 or N]`; wrap:
    from the states at the end `[states, B, N]` to the state; firing: how neurons spike in torch.
    """

    current: Tensor
    loaded: Loaded
    states: Tensor
    params: Tensor
    wrap: Callable[[Tensor], State]
    firing: Firing | None

    def wanted(self, *others: Tensor | None) -> bool:
        """Whether a backward pass may follow, through the neuron or what else enters the call."""
        if not torch.is_grad_enabled():
            return False
        return any(t is not None and t.requires_grad for t in (self.states, self.params, *others))


def described(
    kind: Kind,
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
    **values: Value,
) -> Neuron:
    """The neuron of one call with that call's arguments checked, those of `step.loop.run`.

    kind: of program, "scan" or "rows". Raises NotLowered for a step without a graph, BuildError
    where its program cannot be compiled, and as the loop.
    """
    values = values_of(definition, values, dt)
    firing = firing_of(definition, surrogate, slope, reset, detach_reset, refractory)  # checks
    current = enter(x, state, definition.State, definition.inputs, **values)
    one = one_input(current, definition.inputs)
    now, silent = starts(definition, one, state, values, refractory)
    record = definition.surrogate if surrogate is None else surrogate
    rows: dict[str, Value] = {**values, "dt": dt}
    if definition.spikes:
        rows |= surrogate_rows(record, slope)
    if refractory:
        rows["refractory steps"] = refractory
    loaded = prepared(
        kind,
        definition,
        record,
        record.family.content,
        definition.reset if reset is None else reset,
        detach_reset,
        refractory > 0,
        names_learned(rows),
        known_of(definition, rows),
        not alike(rows),
        current.dtype == torch.float64,
    )
    batch, features = one.shape[1], one.shape[2:]
    flat_already = len(features) == 1
    parts = [*now.values(), *([silent.to(current.dtype)] if silent is not None else [])]
    flat = [part.reshape(batch, -1) for part in parts]
    states = flat[0].unsqueeze(0) if len(flat) == 1 else torch.stack(flat)

    def wrap(ends: Tensor) -> State:
        after = list(ends.unbind(0))
        if not flat_already:
            after = [end.reshape(batch, *features) for end in after]
        if silent is not None:
            after[-1] = after[-1].to(torch.int32)
        elif definition.spikes:
            after.append(None)  # type: ignore[arg-type]
        return definition.State(*after)

    params = matrix(rows, loaded, features, current)
    return Neuron(current, loaded, states, params, wrap, firing)


def alike(values: Mapping[str, Value]) -> bool:
    """Whether no parameter is one per neuron."""
    return all(not isinstance(v, Tensor) or v.numel() == 1 for v in values.values())


def matrix(
    rows: Mapping[str, Value], loaded: Loaded, features: torch.Size, current: Tensor
) -> Tensor:
    """The parameters as `[parameters, 1 or N]`."""
    values = [rows[name] for name in loaded.program.parameters]
    dtype, compiling = current.dtype, torch.compiler.is_compiling()
    tensors = [v for v in values if isinstance(v, Tensor)]
    each = loaded.program.each
    if not each and not compiling and not any(v.requires_grad for v in tensors):
        numbers = [v.item() if isinstance(v, Tensor) else v for v in values]
        return torch.tensor(numbers, dtype=dtype, device="cpu").unsqueeze(1)
    shape = features if each else torch.Size((1,))

    def row(value: Value) -> Tensor:
        if not isinstance(value, Tensor):
            return current.new_full((shape.numel(),), value)
        value = value.to(dtype)
        return (value.expand(shape) if each else value).reshape(-1)

    return torch.stack([row(value) for value in values])


def usual(
    kind: Kind, neuron: str | Step, dtype: torch.dtype, args: dict[str, Any]
) -> Neuron | None:
    """The neuron of a call that starts at rest and whose parameters are numbers, or tensors of one
    that nobody learns; None for others. Arguments were checked when they were met first.
    """
    if not shareable():
        return None
    values: list[Any] = []
    for name, value in args.items():
        if not isinstance(value, Tensor):
            values.append(told_apart(value) if isinstance(value, (bool, Surrogate)) else value)
        elif value.dim() or value.requires_grad or name == "slope":
            return None
        else:
            values.append(value.item())
    return of_numbers(kind, neuron, dtype, tuple(args), tuple(values))


def told_apart(value: bool | Surrogate) -> Any:
    """A value, with what tells it from others that equal it: 1, a name that was given again."""
    return value, bool if isinstance(value, bool) else value.family.content


@lru_cache(maxsize=256)
def of_numbers(
    kind: Kind,
    neuron: str | Step,
    dtype: torch.dtype,
    names: tuple[str, ...],
    values: tuple[Any, ...],
) -> Neuron:
    """`usual`, by values that tell calls apart."""
    given = (value[0] if isinstance(value, tuple) else value for value in values)
    inputs = definition_of(neuron).inputs
    shape = (1, 1, len(inputs), 1) if inputs else (1, 1, 1)
    one = torch.zeros(shape, dtype=dtype, device="cpu")
    args = dict(zip(names, given, strict=True))
    return named(kind, neuron, one, None, args)


def named(
    kind: Kind, neuron: str | Step, x: Tensor, state: State, args: Mapping[str, Any]
) -> Neuron:
    """`described` of a step, or of a scan of `spikegrad.functional` by its name."""
    if isinstance(neuron, str):
        neuron, values = STEPS[neuron]
        args = values(**args)
    return described(kind, neuron, x, state, **args)


def shareable() -> bool:
    """Whether tensors made now may serve other calls: none of a tracer or of inference mode."""
    return not (
        torch.compiler.is_compiling()
        or torch.is_inference_mode_enabled()
        or is_in_torch_dispatch_mode()
    )
