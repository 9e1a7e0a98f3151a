"""Triton kernels for GPUs, generated from the steps of neurons."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.kernels.triton.module import installed, interpreting, why_missing
from spikegrad.kernels.triton.trial import FAILED, step, verdicts
from spikegrad.step import Step

__all__ = ["available", "installed", "obstacle", "step", "verdicts"]

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def available() -> str:
    """Why Triton's kernels cannot run here, or ""."""
    if why := why_missing():
        return why
    if torch.cuda.is_available() or interpreting():
        return ""
    return "torch finds no CUDA GPU (TRITON_INTERPRET=1 runs kernels on the CPU, for tests)"


def obstacle(definition: Step, x: Tensor | None, *, checked: bool) -> str:
    """Why a call cannot run here, or "".

    checked: a kernel that was found to differ from the reference is refused.
    """
    if why := available():
        return why
    if x is not None and x.device.type != "cuda" and not interpreting():
        return f"Triton's kernels run on CUDA GPUs, and the tensors are on {x.device}"
    if x is not None and x.dtype not in DTYPES:
        return f"Triton's kernels have no {x.dtype}"
    if checked and definition in FAILED:
        return f"its Triton kernel differs from the reference here: {FAILED[definition]}"
    return ""
