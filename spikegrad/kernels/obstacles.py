"""Why a call cannot run in a kernel, in words: what holds for every backend, or for several."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from spikegrad.functional.steps import STEPS
from spikegrad.kernels.backend import FEEDBACK, Call
from spikegrad.kernels.forms import obstacle_to_step
from spikegrad.step import Step
from spikegrad.surrogate import Surrogate
from spikegrad.tracing import constant

__all__ = ["definition_of", "no_form", "only_reference", "other_mode"]


def only_reference(call: Call, packed: tuple[type, ...]) -> str:
    """Why only the reference can run a call, or ""; packed: types besides tensors that may come."""
    x = call.x
    if x is not None and not isinstance(x, packed) and (why := other_input(x)):
        return why
    if call.entry in FEEDBACK and call.neuron is None:
        return "its neuron is not one of spikegrad.functional, and no step"
    return other_mode(call.args)


def other_input(x: Any) -> str:
    """Why no kernel can run an input, or ""."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 3 or not x.numel():
        return "the reference checks this input and names the error"
    return ""


def other_mode(args: Any) -> str:
    """Why only the reference can run a call with these arguments, or ""."""
    surrogate = args.get("surrogate")
    if surrogate is not None and getattr(surrogate, "mode", "") == "soft":
        return "only the reference has soft mode"
    if not torch.compiler.is_compiling():
        if torch._C._functorch.peek_interpreter_stack():
            return "only the reference supports torch.func"
        if forward_ad._current_level >= 0:
            return "only the reference has forward-mode derivatives"
    # An export traces; to ask torch.onnx itself costs 4 us of every call.
    tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if tracing and torch.onnx.is_in_onnx_export():
        return "an ONNX file contains only torch's own operators"
    return ""


def definition_of(neuron: str | Step) -> Step:
    """The step of a neuron, or of a scan by its name."""
    return STEPS[neuron][0] if isinstance(neuron, str) else neuron


def no_form(neuron: str | Step, surrogate: Any) -> str:
    """Why no kernel can be generated for a neuron with a surrogate (None: its own), or ""."""
    if isinstance(neuron, Step):
        why = lowering(neuron, surrogate)
        return f"its step has no native form: {why}" if why else ""
    if not isinstance(surrogate, Surrogate):
        return ""
    why = obstacle_to_step(definition_of(neuron), surrogate)
    return f"the surrogate {surrogate.name} has no native form: {why}" if why else ""


@constant
def lowering(definition: Step, surrogate: Surrogate | None) -> str:
    """Why no kernel can be generated for a step, or why one holds no longer; "" for neither."""
    return definition.changed() or obstacle_to_step(definition, surrogate)
