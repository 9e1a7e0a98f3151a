"""Whether a generated kernel computes what the reference computes, on the device where it runs.

The tests see kernels in Triton's interpreter, not on a GPU. So the first call of a kernel on a
(GPU, torch, Triton) compares it with the reference, values and gradients, on a few steps and
samples made of the call's own input. The verdict is kept in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.kernels.triton.calls import ScanCall
from spikegrad.kernels.triton.programs import program_of
from spikegrad.kernels.triton.spikes import Spikes
from spikegrad.kernels.triton.step import HALF, finished, prepared
from spikegrad.kernels.triton.verdict import digest, judged
from spikegrad.step import Step
from spikegrad.step.sequence import one_input
from spikegrad.types import RecurrentState, State

__all__ = [
    "SAMPLES",
    "SCAN",
    "STEPS",
    "TOLERANCE",
    "Way",
    "apart",
    "compared",
    "difference",
    "how_of",
    "name_of",
    "reference",
]

STEPS, SAMPLES = 24, 4
"""More steps than a segment has, so that a part is computed again too."""
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""Of the largest value: an exponential's rounding grows over the steps."""


class Way(NamedTuple):
    """A way to run neurons. name: one word; prepared: `(definition, x, state, **args)` to what the
    kernel is given; finished: `(definition, x, given)`, which runs it; reference: what it must
    give, with prepared's arguments but lean and pack.
    """

    name: str
    prepared: Callable[..., Any]
    finished: Callable[..., tuple[Any, State]]
    reference: Callable[..., tuple[Any, State]]


def reference(
    definition: Step,
    x: Tensor,
    state: State = None,
    *,
    bias: Tensor | None = None,
    norm_scale: Tensor | None = None,
    norm_shift: Tensor | None = None,
    **args: Any,
) -> tuple[Any, State]:
    """What a kernel must give; like it, it adds a bias in float32 to half types."""
    if bias is None and norm_scale is None:
        y, end = definition(x, state, **args)
        return y, end
    wide = x.float() if x.dtype in HALF else x

    def of_channel(given: Tensor) -> Tensor:
        return given.to(wide.dtype).reshape(-1, *[1] * (x.dim() - 3))

    if bias is not None:
        wide = wide + of_channel(bias)
    if norm_scale is not None and norm_shift is not None:
        wide = wide * of_channel(norm_scale) + of_channel(norm_shift)
    y, end = definition(wide, state, **args)
    return y.to(x.dtype), end


SCAN = Way("scan", prepared, finished, reference)


def difference(way: Way, definition: Step, x: Tensor, given: Any, args: dict[str, Any]) -> str:
    """How a call's kernel differs from the reference on this device, "" where it does not."""
    key = digest(program_of(given.program).text, x.dtype, how_of(x, given), x.device)
    name = name_of(way, definition)
    return judged(key, name, x.device, lambda: compared(way, definition, x, args))


def name_of(way: Way, definition: Step) -> str:
    """For people."""
    return definition.name if way.name == SCAN.name else f"{definition.name}, {way.name}"


def how_of(x: Tensor, given: Any) -> str:
    """What a kernel depends on besides its text: with feedback also how many neurons there are."""
    how = f"{given.segment} {given.bias is not None} {given.pack}"
    if isinstance(given, ScanCall):
        return f"{how} norm" if given.scale is not None else how
    return f"{how} {x.shape[-1]}"


def compared(way: Way, definition: Step, x: Tensor, args: dict[str, Any]) -> str:
    """How the kernel differs, "" where it does not.

    A membrane within a rounding error of its threshold may spike in one of the two, so one of three
    comparisons may fail.
    """
    learned = torch.is_grad_enabled()
    args = {name: value for name, value in args.items() if name not in ("noise", "generator")}
    with torch.inference_mode(False), torch.enable_grad():
        if compared_once(way, definition, trial_input(x, 0), args, learned):
            for seed in (1, 2):
                if said := compared_once(way, definition, trial_input(x, seed), args, learned):
                    return said
    return ""


def trial_input(x: Tensor, seed: int) -> Tensor:
    """A few steps and samples of x, each value times a random number between -0.5 and 3.5."""
    part = x.detach()[:STEPS, :SAMPLES].clone()
    times = -(-STEPS // part.shape[0])
    part = part.repeat(times, *[1] * (part.dim() - 1))[:STEPS]
    if not part.any():
        part = torch.ones_like(part)
    noise = torch.rand(part.shape, generator=torch.Generator().manual_seed(seed))
    return part * (noise * 4.0 - 0.5).to(part)


def compared_once(
    way: Way, definition: Step, x: Tensor, args: dict[str, Any], learned: bool
) -> str:
    """The first of output, states and gradients that differs; learned: also of parameters."""
    if definition.mode.word == "escape":
        one = one_input(x, definition.inputs)
        drawn = torch.rand(one.shape, generator=torch.Generator().manual_seed(3))
        args = {**args, "noise": drawn.to(one.device)}

    def kernel(x: Tensor, **given: Any) -> tuple[Any, State]:
        return way.finished(definition, x, way.prepared(definition, x, None, **given))

    plain = {name: value for name, value in args.items() if name not in ("lean", "pack")}
    want = results(partial(way.reference, definition), definition, x, plain, learned)
    got = results(kernel, definition, x, args, learned)
    limit = TOLERANCE[x.dtype]
    return next((said for name in want if (said := apart(name, want[name], got[name], limit))), "")


def apart(name: str, one: Tensor | None, other: Tensor | None, tolerance: float) -> str:
    """Where a result differs from the reference's, "" where it does not; None: zeros."""
    if one is None or other is None:  # a gradient that nothing has a part in is 0
        one = torch.zeros_like(other) if one is None and other is not None else one
        other = torch.zeros_like(one) if other is None and one is not None else other
    if one is None or other is None:
        return ""
    one, other = one.double(), other.double()
    scale = one[one.isfinite()].abs().max().clamp(min=1e-30) if one.isfinite().any() else 1.0
    same = ((one - other).abs() <= tolerance * scale) | (one == other)
    wrong = ~(same | (one.isnan() & other.isnan()))
    if not wrong.any():
        return ""
    at = wrong.flatten().nonzero()[0]
    return (
        f"the {name} differs at {int(wrong.sum())} of {wrong.numel()} places, for example "
        f"{float(other.flatten()[at]):.6g} instead of {float(one.flatten()[at]):.6g}"
    )


def results(
    run: Callable[..., tuple[Any, State]],
    definition: Step,
    x: Tensor,
    args: dict[str, Any],
    learned: bool,
) -> dict[str, Tensor | None]:
    """Outputs, states at the end, and gradients of a weighted sum of them."""
    x = x.clone().requires_grad_()
    leaves = {
        name: value.detach().clone().requires_grad_(value.requires_grad and learned)
        for name, value in args.items()
        if isinstance(value, Tensor)
    }
    y, state = run(x, **{**args, **leaves})
    outputs, ends = outputs_of(y), parts_of(state)
    total = x.new_zeros((), dtype=torch.float32)
    for one in outputs.values():
        weights = torch.linspace(-1.0, 1.0, one.numel(), device=one.device, dtype=torch.float32)
        total = total + (one * weights.reshape(one.shape).to(one.dtype)).sum().to(total.dtype)
    for name in (*definition.states, "the spikes"):
        if name in ends:
            total = total + ends[name].sum().to(total.dtype)
    asked = [x, *(leaf for leaf in leaves.values() if leaf.requires_grad)]
    names = ["x", *(name for name, leaf in leaves.items() if leaf.requires_grad)]
    grads = torch.autograd.grad(total, asked, allow_unused=True)
    with torch.no_grad():
        alone = outputs_of(run(x, **{**args, **leaves})[0])
    return {
        **{name: one.detach() for name, one in outputs.items()},
        **{f"{name} without a gradient": one for name, one in alone.items()},
        **{f"state {n}": end.detach() for n, end in ends.items() if end is not None},
        **{f"gradient of {n}": g for n, g in zip(names, grads, strict=True)},
    }


def outputs_of(y: Any) -> dict[str, Tensor]:
    """What a call returned, by names, as numbers."""
    if isinstance(y, Spikes):
        return {"output": y.numbers()}
    return (
        {"output": y}
        if isinstance(y, Tensor)
        else dict(zip(("output", "membrane"), y, strict=True))
    )


def parts_of(state: State) -> dict[str, Any]:
    """The tensors of a state by name."""
    if isinstance(state, RecurrentState):
        return {**parts_of(state.neuron), "the spikes": state.s}
    return dict(zip(state._fields, state, strict=True))
