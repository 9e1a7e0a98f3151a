"""A network of one step at a time in one native call, with its states inside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import finalize

import torch
from torch import Tensor

from spikegrad.checks import check_state_tensor
from spikegrad.kernels.backend import Part
from spikegrad.kernels.cpu.neuron import named
from spikegrad.kernels.cpu.schema import define
from spikegrad.types import RecurrentState, State

__all__ = ["MOST", "Stream", "register"]

MOST = 65536
"""Inputs, outputs and samples, one less."""


def register() -> None:
    """Schemas of the operators."""
    for schema in (
        "stream_new(int batch, Tensor like) -> int",
        "stream_free(int key) -> ()",
        "stream_add(int key, int neurons, Tensor w, Tensor? bias, Tensor? back, Tensor rows) -> ()",
        "stream_take(int key, int layer, Tensor states, Tensor? last) -> ()",
        "stream_states(int key, int layer) -> (Tensor ends, Tensor last)",
        "stream_step(int key, Tensor x) -> Tensor",
    ):
        define(schema)


class Stream:
    """Layers whose weights and parameters were read once.

    Raises NotLowered or BuildError where neurons have no program.
    """

    def __init__(self, parts: Sequence[Part], batch: int, like: Tensor) -> None:
        self.batch, self.parts = batch, parts
        self.key = torch.ops.spikegrad.stream_new(batch, like)
        finalize(self, torch.ops.spikegrad.stream_free, self.key)
        self.currents = [
            like.new_zeros(()).expand(1, batch, part.weight.shape[0]) for part in parts
        ]
        for at, part in enumerate(parts):
            neuron = self.neuron(at, None)
            tensors = (part.weight, part.bias, part.feedback)
            torch.ops.spikegrad.stream_add(
                self.key,
                0 if neuron is None else neuron.loaded.key,
                *[None if t is None else t.detach().contiguous() for t in tensors],
                like.new_empty(0) if neuron is None else neuron.params.detach(),
            )
        self.call = partial(torch.ops.spikegrad.stream_step.default, self.key)
        self.take([None] * len(parts))

    def neuron(self, at: int, state: State) -> Any:
        """The neurons of a part, as kernels take them from a state; None where it has none."""
        part = self.parts[at]
        if part.neuron is None:
            return None
        with torch.no_grad():
            return named("rows", part.neuron, self.currents[at], state, part.args)

    def __call__(self, x: Tensor) -> Tensor:
        """One step: `[B, I]` to `[B, N]`, a tensor of its own."""
        y: Tensor = self.call(x.contiguous())
        return y

    def states(self) -> list[State]:
        """Copies of the states, None of a part without neurons."""
        found: list[State] = []
        for at, part in enumerate(self.parts):
            if part.neuron is None:
                found.append(None)
                continue
            ends, last = torch.ops.spikegrad.stream_states(self.key, at)
            after = self.neuron(at, None).wrap(ends)
            found.append(after if part.feedback is None else RecurrentState(after, last))
        return found

    def take(self, states: Sequence[State]) -> None:
        """Go on from states, None: from rest; all are checked before the first is taken.

        Raises UserError or TypeError for states that do not fit.
        """
        given = []
        for at, (part, state) in enumerate(zip(self.parts, states, strict=True)):
            if part.neuron is None:
                continue
            fed_back = part.feedback is not None and state is not None
            inner, last = state if fed_back else (state, None)
            if last is not None:
                check_state_tensor(last, "state.s", self.currents[at], self.currents[at].dtype)
                last = last.contiguous()
            given.append((at, self.neuron(at, inner).states.contiguous(), last))
        for at, start, last in given:
            torch.ops.spikegrad.stream_take(self.key, at, start, last)
