"""The CPU's kernels as a backend: what they refuse, and their entry points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spikegrad.functional.conv import Pair
from spikegrad.kernels import cpu
from spikegrad.kernels.backend import Backend, Call, Part, Streamed
from spikegrad.kernels.obstacles import definition_of, no_form
from spikegrad.ragged import EventRows
from spikegrad.step import Step
from spikegrad.types import DelayedFeedbackState, PendingState, State, Value

__all__ = ["BACKEND", "MOST_INPUTS", "obstacle_to_neuron"]

MOST_INPUTS = 8
"""Of a neuron inside a layer: kMostInputs of src/layer.h."""


class CPU(Backend):
    """C++ for tensors on the CPU; every neuron is generated from its step."""

    name = "cpu"
    order = 100
    devices = ("cpu",)
    packs = cpu.Spikes
    sparse = True
    ragged = True
    delayed = True

    def missing(self) -> str:
        """Why the library is not there, or ""; the first call builds and loads it."""
        return cpu.load()

    def leaves(self, call: Call) -> str:
        """Delayed feedback of neurons with several inputs runs step by step."""
        neuron = call.neuron if call.entry == "delayed_recurrent" else None
        if neuron is not None and definition_of(neuron).inputs:
            return "only scans and layers read several inputs"
        return ""

    def refuses(self, call: Call) -> str:
        """Other devices, neurons without a program, products that torch computes."""
        x, neuron, args = call.x, call.neuron, call.args
        if x is not None and x.device.type != "cpu":
            return f"the tensors are on {x.device}"
        if call.entry == "step":
            assert neuron is not None
            return no_form(neuron, args.get("surrogate"))
        if neuron is not None:
            why = obstacle_to_neuron(neuron, args.get("surrogate"), feedback=call.fed)
            if why:
                return why
            if call.entry not in ("layer", "recurrent") and definition_of(neuron).inputs:
                return "only scans and layers read several inputs"
        if call.entry == "spike_pool":
            return cpu.obstacle_to_pool(x, args["kernel"], dict(args))
        return obstacle_to_product(call)

    def reason(self, call: Call) -> str:
        """In words."""
        if isinstance(call.neuron, Step):
            return "a native scan generated from its step"
        return "a native scan for CPU tensors"

    def made(self, definition: Step, args: Mapping[str, Any], values: Mapping[str, Value]) -> str:
        """`cpu.made_of_step`."""
        if why := no_form(definition, args.get("surrogate")):
            return f"none: {why}"
        return cpu.made_of_step(definition, args, values)

    def step(
        self, definition: Step, x: Tensor, state: State = None, *, lean: bool = False, **args: Any
    ) -> tuple[Any, State]:
        """`cpu.step`."""
        return cpu.step(definition, x, state, lean=lean, **args)

    def recurrent(
        self,
        x: Tensor,
        state: State = None,
        *,
        neuron: str | Step,
        args: Mapping[str, Any],
        **how: Any,
    ) -> tuple[Tensor, State]:
        """`cpu.recurrent`."""
        return cpu.recurrent(x, state, neuron=neuron, args=dict(args), **how)

    def delayed_recurrent(
        self,
        x: Tensor,
        state: DelayedFeedbackState | None = None,
        *,
        neuron: str | Step,
        args: Mapping[str, Any],
        **how: Any,
    ) -> tuple[Tensor, DelayedFeedbackState]:
        """`cpu.delayed_recurrent`."""
        return cpu.delayed_recurrent(x, state, neuron=neuron, args=dict(args), **how)

    def layer(self, x: Any, state: State = None, **args: Any) -> tuple[Any, State]:
        """`cpu.layer`."""
        return cpu.layer(x, state, **args)

    def linear(self, x: Any, **args: Any) -> Tensor:
        """`cpu.linear`."""
        return cpu.linear(x, **args)

    def delayed_linear(
        self, x: Any, state: PendingState | None = None, **args: Any
    ) -> tuple[Tensor, PendingState]:
        """`cpu.delayed_linear`."""
        return cpu.delayed_linear(x, state, **args)

    def conv2d(self, x: Tensor, **args: Any) -> Tensor:
        """`cpu.conv2d`."""
        return cpu.conv2d(x, **args)

    def max_pool2d(
        self, x: Tensor, *, kernel: Pair, stride: Pair, padding: Pair = (0, 0)
    ) -> Tensor:
        """`cpu.max_pool2d`."""
        return cpu.max_pool2d(x, kernel=kernel, stride=stride, padding=padding)

    def spike_pool(self, x: Tensor, state: State = None, **args: Any) -> tuple[Tensor, State]:
        """`cpu.spike_pool`."""
        return cpu.spike_pool(x, state, **args)

    def stream(self, parts: Sequence[Part], batch: int, like: Tensor) -> Streamed | None:
        """`cpu.Stream`."""
        most = max(batch + 1, *(max(part.weight.shape) for part in parts))
        return cpu.Stream(parts, batch, like) if most <= cpu.MOST else None

    def packed(self, x: Tensor) -> cpu.Spikes | None:
        """`cpu.packed`."""
        return cpu.packed(x)

    def packed_rows(self, x: Tensor, index: Tensor) -> cpu.Spikes | None:
        """`cpu.packed_rows`."""
        return cpu.packed_rows(x, index)

    def packed_events(self, x: EventRows, rows: int) -> cpu.Spikes | None:
        """`cpu.packed_events`."""
        return cpu.packed_events(x, rows)

    def unpacked(self, given: cpu.Spikes) -> Tensor:
        """`cpu.unpacked`."""
        return cpu.unpacked(given)

    def side_by_side(self, parts: Sequence[cpu.Spikes]) -> tuple[cpu.Spikes, list[int]] | None:
        """`cpu.side_by_side`."""
        return cpu.side_by_side(parts)

    def stilled(self, x: Tensor) -> Tensor:
        """`cpu.stilled`."""
        return cpu.stilled(x)


def obstacle_to_neuron(neuron: str | Step, surrogate: Any, *, feedback: bool = False) -> str:
    """Why neurons cannot run inside a layer, or ""; feedback: of what they return, which must be
    spikes then.
    """
    definition = definition_of(neuron)
    if feedback and not (definition.spikes and definition.output == "spikes"):
        return "its output is no spike"
    if len(definition.inputs) > MOST_INPUTS:
        return f"only the scan reads more than {MOST_INPUTS} inputs"
    if definition.output == "both":
        return "only the scan returns spikes and membranes"
    if definition.mode.word == "escape":
        return "only the scan reads noise"
    if feedback and definition.mode.word != "binary":
        return f"spike={definition.mode.word!r} is fed back in torch"
    return no_form(neuron, surrogate)


def obstacle_to_product(call: Call) -> str:
    """Why a product is not the kernels', or ""."""
    x, weight = call.x, call.args.get("weight")
    if x is None or weight is None:
        return ""
    if weight.device != x.device:
        return f"x is on {x.device} and the weight on {weight.device}"
    if x.dtype != weight.dtype or x.dtype not in (torch.float32, torch.float64):
        return f"torch computes products of {x.dtype} with {weight.dtype}"
    if torch.is_autocast_enabled("cpu"):
        return "torch computes products under autocast"
    if isinstance(x, Tensor) and x.dim() != 3 and call.entry != "recurrent":
        return "torch computes products with more dimensions"
    return ""


BACKEND = CPU()
