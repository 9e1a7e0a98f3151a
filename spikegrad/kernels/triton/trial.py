"""Whether a generated kernel computes what the reference computes, on the device where it runs.

The tests see kernels in Triton's interpreter, not on a GPU. So the first call of a kernel on a
(GPU, torch, Triton) compares it with the reference, values and gradients, on a few steps and
samples made of the call's own input. The verdict is kept in the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.errors import SpikegradWarning
from spikegrad.kernels.triton.launch import Call
from spikegrad.kernels.triton.module import folder, installed, interpreting, put
from spikegrad.kernels.triton.step import HALF, Prepared, finished, prepared
from spikegrad.step import Step
from spikegrad.types import RecurrentState, State

__all__ = ["Verdict", "Way", "difference", "run", "step", "verdicts"]

STEPS, SAMPLES = 24, 4
"""More steps than a segment has, so that a part is computed again too."""
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""Of the largest value: an exponential's rounding grows over the steps."""


class Verdict(NamedTuple):
    """What a comparison found; differs: "" or what differed."""

    neuron: str
    device: str
    torch: str
    triton: str
    differs: str


class Way(NamedTuple):
    """A way to run neurons. name: one word; prepared: `(definition, x, state, **args)` to what the
    kernel is given; finished: `(definition, x, given)`, which runs it; reference: what it must
    give, with prepared's arguments but lean.
    """

    name: str
    prepared: Callable[..., Any]
    finished: Callable[..., tuple[Tensor, State]]
    reference: Callable[..., tuple[Tensor, State]]


CAPTURING = (
    "its first call compares it with the reference, which a CUDA graph cannot capture; call the "
    "neuron once before the capture"
)
KNOWN: dict[str, Verdict] = {}
FAILED: dict[tuple[str, Step], str] = {}
"""Ways and neurons with a kernel that differs in this process, and how."""


def step(
    definition: Step,
    x: Tensor,
    state: State = None,
    *,
    checked: bool = False,
    lean: bool = False,
    **args: Any,
) -> tuple[Tensor, State]:
    """The neuron over x `[T, B, *features]`, by its kernel.

    checked: the kernel is compared with the reference before its first use, and where they differ
    the reference runs, with one warning; lean: keep little for the backward pass; args: as of the
    step, `bias`, `[C]`, which is added to x, and `norm_scale` and `norm_shift`, `[C]`, which the
    sum is multiplied by and added to; C: the first of the features.
    """
    return run(SCAN, definition, x, state, checked=checked, lean=lean, **args)


def run(
    way: Way,
    definition: Step,
    x: Tensor,
    state: State = None,
    *,
    checked: bool,
    lean: bool,
    **args: Any,
) -> tuple[Tensor, State]:
    """A way of running neurons: `step`."""
    given = way.prepared(definition, x, state, lean=lean, **args)
    why = difference(way, definition, x, given, {**args, "lean": lean}) if checked else ""
    if not why:
        return way.finished(definition, x, given)
    if (way.name, definition) not in FAILED:
        warnings.warn(
            f"{definition.name} runs in torch, one step after the other: its Triton kernel is not "
            f"used on {device_name(x.device)}: {why}",
            SpikegradWarning,
            stacklevel=2,
        )
    if why != CAPTURING:
        FAILED[way.name, definition] = why
    return way.reference(definition, x, state, **args)


def reference(
    definition: Step,
    x: Tensor,
    state: State = None,
    *,
    bias: Tensor | None = None,
    norm_scale: Tensor | None = None,
    norm_shift: Tensor | None = None,
    **args: Any,
) -> tuple[Tensor, State]:
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
    key = digest(x, given)
    if key not in KNOWN:
        verdict = stored(key)
        if verdict is None and x.is_cuda and torch.cuda.is_current_stream_capturing():
            return CAPTURING
        KNOWN[key] = verdict or found(way, definition, x, args, key)
    return KNOWN[key].differs


def found(way: Way, definition: Step, x: Tensor, args: dict[str, Any], key: str) -> Verdict:
    """Compare, and keep the verdict."""
    name = definition.name if way is SCAN else f"{definition.name}, {way.name}"
    about = (name, device_name(x.device), torch.__version__, installed())
    try:
        verdict = Verdict(*about, compared(way, definition, x, args))
    except Exception as error:  # of the compiler, the driver, a launch, or no memory
        # The next process tries again.
        said = f"it failed with {type(error).__name__}: {str(error).strip()[:300]}"
        return Verdict(*about, said)
    with contextlib.suppress(OSError):  # without a cache the next process compares again
        put(folder() / "verdicts" / f"{key}.json", json.dumps(verdict._asdict()))
    return verdict


def stored(key: str) -> Verdict | None:
    """A verdict of the cache."""
    try:
        text = (folder() / "verdicts" / f"{key}.json").read_text(encoding="utf-8")
        return Verdict(**json.loads(text))
    except (OSError, ValueError, TypeError):
        return None


def verdicts() -> list[Verdict]:
    """All that the cache has."""
    files = sorted((folder() / "verdicts").glob("*.json"))
    return [verdict for file in files if (verdict := stored(file.stem))]


def digest(x: Tensor, given: Any) -> str:
    """What a verdict holds for: the kernels' text, dtype and way, the device and what compiles.

    With feedback the kernel also depends on how many neurons there are.
    """
    call: Call = given.call
    if isinstance(given, Prepared):
        size = " norm" if given.scale is not None else ""
    else:
        size = f" {x.shape[-1]}"
    how = f"{call.segment} {given.bias is not None}{size}"
    return digest_of(call.program.text, x.dtype, how, device_name(x.device))


@lru_cache(maxsize=1024)
def digest_of(text: str, dtype: torch.dtype, how: str, device: str) -> str:
    """The same, once for each: a step of a stream has no time for it."""
    parts = (
        text,
        str(dtype),
        how,
        device,
        torch.__version__,
        str(torch.version.cuda or torch.version.hip),
        installed(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@lru_cache(maxsize=64)
def device_name(device: torch.device) -> str:
    """A GPU's name and generation."""
    if device.type != "cuda":
        return "Triton's interpreter" if interpreting() else str(device)
    major, minor = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)} ({major}.{minor})"


def compared(way: Way, definition: Step, x: Tensor, args: dict[str, Any]) -> str:
    """How the kernel differs, "" where it does not.

    A membrane within a rounding error of its threshold may spike in one of the two, so one of three
    comparisons may fail.
    """
    learned = torch.is_grad_enabled()
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

    def kernel(x: Tensor, **given: Any) -> tuple[Tensor, State]:
        return way.finished(definition, x, way.prepared(definition, x, None, **given))

    plain = {name: value for name, value in args.items() if name != "lean"}
    want = results(partial(way.reference, definition), definition, x, plain, learned)
    got = results(kernel, definition, x, args, learned)
    tolerance = TOLERANCE[x.dtype]
    for name, one in want.items():
        other = got[name]
        if one is None or other is None:  # a gradient that nothing has a part in is 0
            one = torch.zeros_like(other) if one is None and other is not None else one
            other = torch.zeros_like(one) if other is None and one is not None else other
        if one is None or other is None:
            continue
        one, other = one.double(), other.double()
        scale = one[one.isfinite()].abs().max().clamp(min=1e-30) if one.isfinite().any() else 1.0
        same = ((one - other).abs() <= tolerance * scale) | (one == other)
        wrong = ~(same | (one.isnan() & other.isnan()))
        if wrong.any():
            at = wrong.flatten().nonzero()[0]
            return (
                f"the {name} differs at {int(wrong.sum())} of {wrong.numel()} places, for example "
                f"{float(other.flatten()[at]):.6g} instead of {float(one.flatten()[at]):.6g}"
            )
    return ""


def results(
    run: Callable[..., tuple[Tensor, State]],
    definition: Step,
    x: Tensor,
    args: dict[str, Any],
    learned: bool,
) -> dict[str, Tensor | None]:
    """Output, states at the end, and gradients of a weighted sum of them."""
    x = x.clone().requires_grad_()
    leaves = {
        name: value.detach().clone().requires_grad_(value.requires_grad and learned)
        for name, value in args.items()
        if isinstance(value, Tensor)
    }
    y, state = run(x, **{**args, **leaves})
    weights = torch.linspace(-1.0, 1.0, y.numel(), device=y.device, dtype=torch.float32)
    total = (y * weights.reshape(y.shape).to(y.dtype)).sum()
    ends = parts_of(state)
    for name in (*definition.states, "the spikes"):
        if name in ends:
            total = total + ends[name].sum().to(total.dtype)
    asked = [x, *(leaf for leaf in leaves.values() if leaf.requires_grad)]
    names = ["x", *(name for name, leaf in leaves.items() if leaf.requires_grad)]
    grads = torch.autograd.grad(total, asked, allow_unused=True)
    with torch.no_grad():
        alone, _ = run(x, **{**args, **leaves})
    return {
        "output": y.detach(),
        "output without a gradient": alone,
        **{f"state {n}": end.detach() for n, end in ends.items() if end is not None},
        **{f"gradient of {n}": g for n, g in zip(names, grads, strict=True)},
    }


def parts_of(state: State) -> dict[str, Any]:
    """The tensors of a state by name."""
    if isinstance(state, RecurrentState):
        return {**parts_of(state.neuron), "the spikes": state.s}
    return dict(zip(state._fields, state, strict=True))
