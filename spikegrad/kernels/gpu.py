"""Whether a call runs on a GPU, and by which kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from spikegrad.functional.steps import STEPS
from spikegrad.kernels import triton
from spikegrad.kernels.choice import Choice, refused, warn_once
from spikegrad.kernels.obstacles import lowering, other_input, other_mode
from spikegrad.step import Step

__all__ = ["choose_triton", "on_gpu"]


def on_gpu(x: Any) -> bool:
    """Whether an input is on a CUDA GPU."""
    return isinstance(x, Tensor) and x.is_cuda


def choose_triton(
    scan: str,
    backend: str,
    x: Tensor | None,
    args: dict[str, Any],
    reference: Callable[..., Any],
    definition: Step | None,
) -> Choice:
    """Triton's kernel where it can run a call of a scan, or of a neuron that is a step."""
    if definition is None and scan not in STEPS:
        return Choice(scan, "reference", "Triton runs neurons; torch runs this", reference)
    found = definition or STEPS[scan][0]
    why_not = other_input(x) if x is not None else ""
    why_not = why_not or other_mode(args) or triton.obstacle(found, x, backend == "auto")
    if not why_not and (why := lowering(found, args.get("surrogate"))):
        why_not = f"its step has no native form: {why}"
        if backend == "auto":
            warn_once(scan, why_not)
    if not why_not:
        run = partial(triton.step, found) if definition else partial(triton.scan, scan)
        reason = "a Triton scan generated from its step"
        return Choice(scan, "triton", reason, partial(run, checked=backend == "auto"))
    if backend == "auto":
        return Choice(scan, "reference", why_not, reference)
    raise refused(scan, backend, why_not)
