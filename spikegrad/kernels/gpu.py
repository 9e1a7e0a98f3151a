"""Whether a call runs on a GPU, and by which kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeGuard

from torch import Tensor

from spikegrad.functional.steps import STEPS, as_step
from spikegrad.kernels import triton
from spikegrad.kernels.choice import Choice, refused, warn_once
from spikegrad.kernels.obstacles import lowering, other_input, other_mode
from spikegrad.step import Step

__all__ = ["choose_triton", "obstacle_to_layer", "on_gpu"]


def on_gpu(x: Any) -> TypeGuard[Tensor]:
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
    if scan == "recurrent" and definition is None:
        return choose_feedback(backend, x, args, reference)
    if definition is None and scan not in STEPS:
        return Choice(scan, "reference", "Triton runs neurons; torch runs this", reference)
    found = definition or STEPS[scan][0]
    why_not = obstacle(found, x, args, checked=backend == "auto")
    if not why_not:
        run = partial(triton.step, found) if definition else partial(triton.scan, scan)
        reason = "a Triton scan generated from its step"
        return Choice(scan, "triton", reason, partial(run, checked=backend == "auto"))
    if backend == "auto":
        return Choice(scan, "reference", why_not, reference)
    raise refused(scan, backend, why_not)


def obstacle(definition: Step, x: Tensor | None, args: dict[str, Any], *, checked: bool) -> str:
    """Why Triton cannot run a call of a neuron, or ""; checked: as of `triton.obstacle`."""
    why_not = other_input(x) if x is not None else ""
    why_not = why_not or other_mode(args) or triton.obstacle(definition, x, checked)
    if not why_not and (why := lowering(definition, args.get("surrogate"))):
        why_not = f"its step has no native form: {why}"
        if checked:
            warn_once(definition.name, why_not)
    return why_not


def choose_feedback(
    backend: str, x: Tensor | None, args: dict[str, Any], reference: Callable[..., Any]
) -> Choice:
    """Triton's kernel where it can run a neuron that is fed back its spikes."""
    found = bound_step(args.get("neuron"))
    why_not, checked = "", backend == "auto"
    if isinstance(found, str):
        why_not = found
    else:
        definition, values = found
        why_not = triton.obstacle_to_feedback(definition, checked)
        why_not = why_not or obstacle(definition, x, args, checked=checked)
    if not why_not:
        run = partial(triton.recurrent, definition, checked=checked, **values)
        return Choice("recurrent", "triton", "a Triton scan with its feedback", run)
    if checked:
        return Choice("recurrent", "reference", why_not, reference)
    raise refused("recurrent", backend, why_not)


def bound_step(neuron: Any) -> tuple[Step, dict[str, Any]] | str:
    """The step and the arguments of a neuron that is bound for feedback, or why there is none."""
    if neuron is None:
        return STEPS["lif"][0], {}
    if isinstance(neuron, partial):
        values = {k: v for k, v in neuron.keywords.items() if k not in ("backend", "lean")}
        name, room = getattr(neuron.func, "__name__", ""), getattr(neuron.func, "__module__", "")
        if (
            neuron.args
            and isinstance(neuron.args[0], Step)
            and room == "spikegrad.kernels.dispatch"
        ):
            return neuron.args[0], values
        if name in STEPS and not neuron.args and room.startswith("spikegrad."):
            return as_step(name, values)
    return "its neuron is not one of spikegrad.functional, and no step"


def obstacle_to_layer(
    x: Tensor,
    weight: Tensor,
    neuron: str | Step | None,
    surrogate: Any,
    *,
    feedback: bool,
    checked: bool,
) -> str:
    """Why a connection and its neurons, with feedback or not, are not one call on a GPU, or "".

    checked: Triton was not chosen by name.
    """
    if neuron is None:
        return "torch computes products on GPUs"
    if weight.device != x.device or weight.dtype != x.dtype:
        return f"x is {x.dtype} on {x.device}, the weight {weight.dtype} on {weight.device}"
    if x.dim() != 3:
        return "torch computes products with more dimensions"
    definition = STEPS[neuron][0] if isinstance(neuron, str) else neuron
    why_not = triton.obstacle_to_feedback(definition, checked) if feedback else ""
    return why_not or obstacle(definition, x, {"surrogate": surrogate}, checked=checked)
