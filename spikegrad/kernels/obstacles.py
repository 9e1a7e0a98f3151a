"""Why a call cannot run natively, in words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from spikegrad.functional.steps import STEPS
from spikegrad.kernels import cpu
from spikegrad.kernels.forms import obstacle_to_step
from spikegrad.step import Step
from spikegrad.surrogate import Surrogate

__all__ = [
    "lowering",
    "obstacle_to_neuron",
    "other_device",
    "other_input",
    "other_mode",
    "other_product",
    "own_surrogate",
    "shared_obstacle",
]


def shared_obstacle(x: Tensor | None, args: dict[str, Any]) -> str:
    """Why no native kernel can run a call with this input and these arguments, or ""."""
    if x is not None and (why := other_input(x) or other_device(x)):
        return why
    return other_mode(args) or cpu.load()


def other_mode(args: dict[str, Any]) -> str:
    """Why only the reference can run a call with these arguments, or ""."""
    surrogate = args.get("surrogate")
    if surrogate is not None and getattr(surrogate, "mode", "") == "soft":
        return "only the reference has soft mode"
    if not torch.compiler.is_compiling():
        if torch._C._functorch.peek_interpreter_stack():
            return "only the reference supports torch.func"
        if forward_ad._current_level >= 0:
            return "only the reference has forward-mode derivatives"
    if torch.onnx.is_in_onnx_export():
        return "an ONNX file contains only torch's own operators"
    return ""


def own_surrogate(scan: str, args: dict[str, Any]) -> str:
    """Why a user's own surrogate has no native form, or ""."""
    surrogate = args.get("surrogate")
    if surrogate is None or not isinstance(surrogate, Surrogate):
        return ""
    why = obstacle_to_step(STEPS[scan][0], surrogate)
    return f"the surrogate {surrogate.name} has no native form: {why}" if why else ""


@torch.compiler.assume_constant_result
def lowering(definition: Step, surrogate: Surrogate | None) -> str:
    """Why no kernel can be generated for a step, or why one holds no longer; "" for neither."""
    return definition.changed() or obstacle_to_step(definition, surrogate)


def other_input(x: Any) -> str:
    """Why no kernel can run an input, or ""."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 3 or not x.numel():
        return "the reference checks this input and names the error"
    return ""


def other_device(x: Tensor) -> str:
    """Why tensors are not where the CPU's kernels are, or ""."""
    return "" if x.device.type == "cpu" else f"the tensors are on {x.device}"


def other_product(dtype: torch.dtype, weight: Tensor) -> str:
    """Why a product with numbers of a dtype is not the kernels', or ""."""
    if dtype != weight.dtype or dtype not in (torch.float32, torch.float64):
        return f"torch computes products of {dtype} with {weight.dtype}"
    return "torch computes products under autocast" if torch.is_autocast_enabled("cpu") else ""


def obstacle_to_neuron(neuron: str | Step, surrogate: Any, *, feedback: bool = False) -> str:
    """Why neurons cannot run inside a layer, or ""; feedback: of what they return, which must be
    spikes then.
    """
    definition = STEPS[neuron][0] if isinstance(neuron, str) and neuron in STEPS else neuron
    if (
        feedback
        and isinstance(definition, Step)
        and not (definition.spikes and definition.output == "spikes")
    ):
        return "its output is no spike"
    if isinstance(neuron, str):
        return own_surrogate(neuron, {"surrogate": surrogate}) if neuron in STEPS else ""
    if neuron.inputs:
        return "only the scan reads several inputs"
    if neuron.output == "both":
        return "only the scan returns spikes and membranes"
    if neuron.mode.word == "escape":
        return "only the scan reads noise"
    if feedback and neuron.mode.word != "binary":
        return f"spike={neuron.mode.word!r} is fed back in torch"
    if why := lowering(neuron, surrogate):
        return f"its step has no native form: {why}"
    return ""
