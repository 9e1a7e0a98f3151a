"""Neurons that are written as one step, in one native call generated from the step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.neuron import alike, described
from spikegrad.kernels.cpu.step_operator import run
from spikegrad.kernels.cpu.strides import is_channels_last
from spikegrad.kernels.forms import SEGMENT
from spikegrad.step import Step
from spikegrad.step.loop import noise_of
from spikegrad.step.sequence import one_input
from spikegrad.types import State, map_state

__all__ = ["step"]


def step(
    definition: Step,
    x: Tensor,
    state: State = None,
    *,
    lean: bool = False,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
    **args: Any,
) -> tuple[Any, State]:
    """The neuron over x: see `spikegrad.step.loop.run`, whose arguments args are.

    lean: keep states now and then alone, and compute the rest again for the backward pass.
    A channels-last x is read as it lies where no neuron has parameters of its own, and its outputs
    lie alike. Raises NotLowered for a step without a graph, and as the loop.
    """
    by_chance = definition.mode.word == "escape"  # noise is drawn in the order of the features
    if is_channels_last(x) and alike(args) and not (by_chance or definition.inputs):
        start = map_state(lambda part: part.permute(0, 2, 3, 1), state)
        y, end = step(definition, x.permute(0, 1, 3, 4, 2), start, lean=lean, **args)
        return map_state(lambda part: part.movedim(-1, -3), (y, end))
    n = described("scan", definition, x, state, **args)
    one = one_input(n.current, definition.inputs)
    # Once there is a program: where there is none, the loop draws.
    drawn = noise_of(n.firing, one, noise, generator)
    rows = None if drawn is None else drawn.reshape(*one.shape[:2], -1)
    flat = flat_of(n.current, definition)
    keep = n.wanted(flat)
    segment = SEGMENT if keep and (lean or n.loaded.recompute) else 0
    y, u, *_, ends = run(n.loaded.key, flat, rows, n.states.contiguous(), n.params, keep, segment)
    both = (y, u) if definition.output == "both" else y
    return map_state(lambda part: part.reshape(one.shape).to(x.dtype), both), n.wrap(ends)


def flat_of(current: Tensor, definition: Step) -> Tensor:
    """The input as the operator reads it, `[T, B, N]` or `[inputs, T, B, N]`."""
    if definition.inputs:
        apart = current.movedim(2, 0)
        return apart.reshape(*apart.shape[:3], -1).contiguous()
    return dense(current.reshape(*current.shape[:2], -1))


def dense(x: Tensor) -> Tensor:
    """x `[T, B, N]` with the columns of a step side by side; its steps may be the same one."""
    if torch.compiler.is_compiling():
        return x.contiguous()
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()
