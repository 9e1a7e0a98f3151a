"""Triton kernels for GPUs, generated from the steps of neurons."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.functional.steps import as_step
from spikegrad.kernels.triton.feedback import obstacle as obstacle_to_feedback
from spikegrad.kernels.triton.feedback import recurrent
from spikegrad.kernels.triton.layer import REASON, layer, normed
from spikegrad.kernels.triton.module import installed, interpreting, why_missing
from spikegrad.kernels.triton.trial import FAILED, step, verdicts
from spikegrad.step import Step
from spikegrad.types import State

__all__ = [
    "REASON",
    "available",
    "installed",
    "layer",
    "normed",
    "obstacle",
    "obstacle_to_feedback",
    "recurrent",
    "scan",
    "step",
    "verdicts",
]

TAKEN = {"bias", "checked", "feedback", "lean", "norm_scale", "norm_shift", "weight"}
"""Arguments of the kernels' calls: a parameter of the same name would take their place."""
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def available() -> str:
    """Why Triton's kernels cannot run here, or ""."""
    if why := why_missing():
        return why
    if torch.cuda.is_available() or interpreting():
        return ""
    return "torch finds no CUDA GPU (TRITON_INTERPRET=1 runs kernels on the CPU, for tests)"


def obstacle(definition: Step, x: Tensor | None, checked: bool) -> str:
    """Why a call of a neuron cannot run here, or "".

    checked: the caller chose no kernel by name, so that one that was found to differ from the
    reference is refused.
    """
    if definition.inputs:
        return "Triton's kernels read one input"
    if definition.output == "both":
        return "Triton's kernels return one output"
    if definition.mode.word == "escape":
        return "Triton's kernels read no noise"
    if taken := sorted(TAKEN.intersection(definition.reads)):
        return f"Triton's kernels have an argument of their own that is named {taken[0]}"
    if torch.compiler.is_compiling():
        return "torch.compile compiles the loop"
    if why := available():
        return why
    if x is not None and x.device.type != "cuda" and not interpreting():
        return f"Triton's kernels run on CUDA GPUs, and the tensors are on {x.device}"
    if x is not None and x.dtype not in DTYPES:
        return f"Triton's kernels have no {x.dtype}"
    if checked and (found := FAILED.get(("scan", definition))):
        return f"its Triton kernel is not used here: {found}"
    return ""


def scan(name: str, x: Tensor, state: State = None, **args: Any) -> tuple[Tensor, State]:
    """A neuron of `spikegrad.functional` by its name, with the arguments that it has there."""
    how = {key: args.pop(key) for key in ("checked", "lean") if key in args}
    definition, values = as_step(name, args)
    return step(definition, x, state, **how, **values)
