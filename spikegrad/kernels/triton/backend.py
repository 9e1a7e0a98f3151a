"""Triton's kernels as a backend: what they refuse, and their entry points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from spikegrad.functional.steps import as_step
from spikegrad.kernels import triton
from spikegrad.kernels.backend import Backend, Call
from spikegrad.kernels.obstacles import definition_of, no_form
from spikegrad.step import Step
from spikegrad.types import State

__all__ = ["BACKEND"]


class Triton(Backend):
    """Kernels for tensors on a CUDA GPU, generated from the steps of neurons.

    Where "auto" chose, a kernel is compared with the reference before its first use (`checked`).
    """

    name = "triton"
    order = 100
    devices = ("cuda",)
    packs = triton.Spikes

    def missing(self) -> str:
        """Why Triton or a GPU is not there, or ""."""
        return triton.available()

    def unpacked(self, given: triton.Spikes) -> Tensor:
        """Zeros and ones."""
        return given.numbers()

    def side_by_side(
        self, parts: Sequence[triton.Spikes]
    ) -> tuple[triton.Spikes, list[int]] | None:
        """`triton.side_by_side`."""
        return triton.side_by_side(parts)

    def leaves(self, call: Call) -> str:
        """Products of numbers are torch's."""
        bits = call.ahead or isinstance(call.x, triton.Spikes)
        return "" if call.entry != "linear" or bits else "torch computes products of numbers"

    def refuses(self, call: Call) -> str:
        """Other devices and dtypes, and neurons without a program."""
        weight = call.args.get("weight") if call.entry in ("layer", "linear") else None
        if weight is not None and (why := obstacle_to_product(call.x, weight)):
            return why
        if call.neuron is None:
            return triton.obstacle_to_input(call.x)
        definition, checked = definition_of(call.neuron), not call.by_name
        if call.entry != "step" and (why := triton.obstacle_inside(definition)):
            return why
        if call.fed and (why := triton.obstacle_to_feedback(definition, checked)):
            return why
        why = triton.obstacle(definition, call.x, checked)
        return why or no_form(call.neuron, call.args.get("surrogate"))

    def reason(self, call: Call) -> str:
        """In words."""
        words = {
            "layer": triton.REASON,
            "linear": "a product of spikes as bits",
            "recurrent": "a Triton scan with its feedback",
        }
        return words.get(call.entry, "a Triton scan generated from its step")

    def about(self) -> str:
        """Triton's version, and which kernels agreed with the reference where they ran."""
        if not triton.installed():
            return "not installed"
        found = triton.verdicts()
        wrong = sorted({f"{v.neuron} on {v.device} ({v.differs})" for v in found if v.differs})
        agreed = sum(not v.differs for v in found)
        said = f"{triton.installed()}; {agreed} kernels agreed with the reference"
        return f"{said}; not used: {'; '.join(wrong)}" if wrong else said

    def function(self, call: Call) -> Callable[..., Any]:
        """With the comparison, unless it was chosen by name."""
        return partial(super().function(call), checked=not call.by_name)

    def scan(
        self, name: str, x: Tensor, state: State = None, *, checked: bool = False, **args: Any
    ) -> tuple[Any, State]:
        """`triton.step` of a built-in neuron."""
        definition, values = as_step(name, args)
        return triton.step(definition, x, state, checked=checked, **values)

    def step(
        self, definition: Step, x: Tensor, state: State = None, *, lean: bool = False, **args: Any
    ) -> tuple[Any, State]:
        """`triton.step`."""
        return triton.step(definition, x, state, lean=lean, **args)

    def recurrent(
        self,
        x: Tensor,
        state: State = None,
        *,
        weight: Tensor,
        neuron: str | Step,
        args: Mapping[str, Any],
        lean: bool = False,
        checked: bool = False,
    ) -> tuple[Tensor, State]:
        """`triton.recurrent`."""
        definition, values = as_step(neuron, args) if isinstance(neuron, str) else (neuron, args)
        how: dict[str, Any] = {"checked": checked, "lean": lean}
        return triton.recurrent(definition, x, state, weight=weight, **how, **values)

    def layer(self, x: Any, state: State = None, **args: Any) -> tuple[Any, State]:
        """`triton.layer`."""
        return triton.layer(x, state, **args)

    def linear(self, x: Any, **args: Any) -> Tensor:
        """`triton.linear`."""
        return triton.linear(x, **args)

    def normed(self, x: Tensor, state: State = None, **args: Any) -> tuple[Any, State]:
        """`triton.normed`."""
        return triton.normed(x, state, **args)


def obstacle_to_product(x: Tensor | triton.Spikes | None, weight: Tensor) -> str:
    """Why a product is not one that a layer here computes, or ""."""
    if x is None:
        return ""
    if weight.device != x.device or weight.dtype != x.dtype:
        return f"x is {x.dtype} on {x.device}, the weight {weight.dtype} on {weight.device}"
    return "torch computes products with more dimensions" if len(x.shape) != 3 else ""


BACKEND = Triton()
