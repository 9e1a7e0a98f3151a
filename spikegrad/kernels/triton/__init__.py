"""Triton kernels for GPUs, generated from the steps of neurons."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.kernels.triton.feedback import obstacle as obstacle_to_feedback
from spikegrad.kernels.triton.feedback import recurrent
from spikegrad.kernels.triton.layer import REASON, layer, linear, normed
from spikegrad.kernels.triton.module import installed, interpreting, why_missing
from spikegrad.kernels.triton.run import step
from spikegrad.kernels.triton.spikes import Spikes, side_by_side
from spikegrad.kernels.triton.trial import SCAN
from spikegrad.kernels.triton.verdict import failed, verdicts
from spikegrad.step import Step
from spikegrad.tracing import constant

__all__ = [
    "REASON",
    "Spikes",
    "available",
    "installed",
    "layer",
    "linear",
    "normed",
    "obstacle",
    "obstacle_inside",
    "obstacle_to_feedback",
    "recurrent",
    "side_by_side",
    "step",
    "verdicts",
]

TAKEN = {
    "bias", "checked", "fed", "feedback", "lean", "norm_scale", "norm_shift", "pack", "weight"
}  # fmt: skip
"""Arguments of the kernels' calls: a parameter of the same name would take their place."""
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@constant
def available() -> str:
    """Why Triton's kernels cannot run here, or ""."""
    if why := why_missing():
        return why
    if torch.cuda.is_available() or interpreting():
        return ""
    return "torch finds no CUDA GPU (TRITON_INTERPRET=1 runs kernels on the CPU, for tests)"


def obstacle(definition: Step, x: Tensor | Spikes | None, checked: bool) -> str:
    """Why a call of a neuron cannot run here, or "".

    checked: the caller chose no kernel by name, so that one that was found to differ from the
    reference is refused.
    """
    if taken := sorted(TAKEN.intersection(definition.reads)):
        return f"Triton's kernels have an argument of their own that is named {taken[0]}"
    if why := obstacle_to_input(x):
        return why
    if checked and (found := failed(SCAN.name, definition)):
        return f"its Triton kernel is not used here: {found}"
    return ""


def obstacle_to_input(x: Tensor | Spikes | None) -> str:
    """Why an input cannot be read here, or ""."""
    if why := available():
        return why
    if x is not None and x.device.type != "cuda" and not on_cpu():
        return f"Triton's kernels run on CUDA GPUs, and the tensors are on {x.device}"
    if x is not None and x.dtype not in DTYPES:
        return f"Triton's kernels have no {x.dtype}"
    return ""


@constant
def on_cpu() -> bool:
    """Whether kernels run on the CPU, in the interpreter."""
    return interpreting()


def obstacle_inside(definition: Step) -> str:
    """Why neurons cannot run behind a product, or ""."""
    if definition.inputs:
        return "only the scan reads several inputs"
    if definition.output == "both":
        return "only the scan returns spikes and membranes"
    if definition.mode.word == "escape":
        return "only the scan reads noise"
    return ""
