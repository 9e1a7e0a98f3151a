"""Neurons that are written as one step, in one native call generated from the step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.neuron import alike, described
from spikegrad.kernels.cpu.step_operator import run
from spikegrad.kernels.cpu.strides import is_channels_last
from spikegrad.kernels.forms import MOST_BYTES, SEGMENT
from spikegrad.step import Step
from spikegrad.types import State, map_state

__all__ = ["step"]


def step(
    definition: Step, x: Tensor, state: State = None, *, lean: bool = False, **args: Any
) -> tuple[Tensor, State]:
    """The neuron over x `[T, B, *features]`: see `spikegrad.step.loop.run`, whose arguments args
    are.

    lean: keep states now and then alone, and compute the rest again for the backward pass.
    A channels-last x is read as it lies where no neuron has parameters of its own, and its outputs
    lie alike. Raises NotLowered for a step without a graph, and as the loop.
    """
    if is_channels_last(x) and alike(args):
        start = map_state(lambda part: part.permute(0, 2, 3, 1), state)
        y, end = step(definition, x.permute(0, 1, 3, 4, 2), start, lean=lean, **args)
        return y.movedim(-1, -3), map_state(lambda part: part.movedim(-1, -3), end)
    n = described("scan", definition, x, state, **args)
    shape = n.current.shape
    flat = dense(n.current.reshape(shape[0], shape[1], -1))
    keep = n.wanted(flat)
    much = n.loaded.bytes_kept > MOST_BYTES
    segment = SEGMENT if keep and (lean or much) else 0
    y, _, _, _, ends = run(n.loaded.key, flat, n.states.contiguous(), n.params, keep, segment)
    return y.reshape(shape).to(x.dtype), n.wrap(ends)


def dense(x: Tensor) -> Tensor:
    """x `[T, B, N]` with the columns of a step side by side; its steps may be the same one."""
    if torch.compiler.is_compiling():
        return x.contiguous()
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()
