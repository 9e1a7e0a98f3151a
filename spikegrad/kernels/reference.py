"""The specification as the last backend, which runs every call as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from spikegrad import functional
from spikegrad.kernels.backend import Backend, Call
from spikegrad.step import Step
from spikegrad.types import Value

__all__ = ["REFERENCE"]


class Reference(Backend):
    """`spikegrad.functional`, and steps in their loop; "auto" takes it where others refuse."""

    name = "reference"
    order = 1_000_000
    devices = ()

    def made(self, definition: Step, args: Mapping[str, Any], values: Mapping[str, Value]) -> str:
        """In words."""
        return "the step in a loop over time, in torch; its autograd keeps every value"

    def function(self, call: Call) -> Callable[..., Any]:
        """The function of the specification."""
        if isinstance(call.neuron, Step) and call.entry == "step":
            return call.neuron
        function: Callable[..., Any] = getattr(functional, call.name)
        return partial(function, neuron=call.args["neuron"]) if "neuron" in call.args else function


REFERENCE = Reference()
