"""Loading the kernels and telling torch about them: shapes for tracing, gradients, refusals."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spikegrad.errors import SpikegradWarning
from spikegrad.kernels.cpu.build import BuildError, build
from spikegrad.surrogate import Surrogate

__all__ = ["FAMILIES", "KINDS", "PARAMETERS", "RESETS", "load", "record_of", "surrogate_id"]

# The orders of the enums in src/scan.cpp and src/surrogate.h.
PARAMETERS = (
    "alpha",
    "beta",
    "gain_syn",
    "gain_mem",
    "threshold",
    "v_rest",
    "v_reset",
    "rho",
    "kappa",
    "drop",
)
RESETS = ("subtract", "zero", "none")
KINDS = {"synapse": 1, "adaptive": 2, "spiking": 4}
FAMILIES = (
    "arctan",
    "sigmoid",
    "fast_sigmoid",
    "triangle",
    "boxcar",
    "gaussian",
    "exponential",
    "algebraic",
    "multi_gaussian",
    "q_pseudospike",
    "leaky",
    "straight_through",
)

_RECORDS: list[Surrogate] = []


@functools.cache
def load() -> str:
    """Build if need be, load and register the kernels; return "" or the reason why they are not.

    One warning says what is lost. `SPIKEGRAD_KERNELS=off` leaves them out without one.
    """
    if os.environ.get("SPIKEGRAD_KERNELS", "") == "off":
        return "SPIKEGRAD_KERNELS=off"
    try:
        path = build()
        torch.ops.load_library(str(path))
    except (BuildError, OSError) as error:
        reason = str(error)
        warnings.warn(
            f"the fast CPU kernels are missing, so networks run several times slower: {reason}",
            SpikegradWarning,
            stacklevel=2,
        )
        return reason
    register()
    return ""


def surrogate_id(surrogate: Surrogate) -> int:
    """A number that stands for a record in an operator's arguments."""
    try:
        return _RECORDS.index(surrogate)
    except ValueError:
        _RECORDS.append(surrogate)
        return len(_RECORDS) - 1


def record_of(number: int) -> Surrogate:
    """The record behind a number."""
    return _RECORDS[number]


def register() -> None:
    """Shapes and gradients of the operators."""
    torch.library.register_fake("spikegrad::scan", fake_scan)
    torch.library.register_fake("spikegrad::scan_backward", fake_scan_backward)
    torch.library.register_autograd("spikegrad::scan", scan_gradient, setup_context=keep_for_scan)
    torch.library.register_autograd("spikegrad::scan_backward", refuse)
    torch.library.register_fake("spikegrad::events_linear", fake_events_linear)
    torch.library.register_autograd(
        "spikegrad::events_linear", events_gradient, setup_context=keep_for_events
    )
    torch.library.register_autograd("spikegrad::events_weight_gradient", refuse)
    from spikegrad.kernels.cpu import conv, pool2d, spike_pool  # which import this module

    conv.register()
    pool2d.register()
    spike_pool.register()


def fake_scan(
    x: Tensor,
    i0: Tensor | None,
    v0: Tensor | None,
    a0: Tensor | None,
    silent0: Tensor | None,
    params: Tensor,
    slope: Tensor,
    kind: int,
    reset: int,
    attached: bool,
    refractory: int,
    surrogate: int,
    keep: bool,
) -> tuple[Tensor, ...]:
    """The outputs' shapes and dtypes."""
    syn, ada, fire = (bool(kind & KINDS[k]) for k in ("synapse", "adaptive", "spiking"))
    whole, one = x.shape, x.shape[1:]

    def made(there: bool, shape: Sequence[int], dtype: torch.dtype = x.dtype) -> Tensor:
        return x.new_empty(shape if there else (0,), dtype=dtype)

    return (
        made(fire, whole),
        made(True, whole),
        made(syn and keep, whole),
        made(ada, whole),
        made(refractory > 0, whole, torch.uint8),
        made(syn, one),
        made(True, one),
        made(ada, one),
        made(refractory > 0, one, torch.int32),
    )


def fake_scan_backward(*args: Any) -> tuple[Tensor, ...]:
    """The gradients' shapes and dtypes."""
    u, params, slope, kind, grads = args[5], args[11], args[12], args[16], args[22]
    one = u.shape[1:]
    width = max(params.shape[1], slope.shape[0])
    parts = u.shape[1] if width > 1 else -(-one.numel() // 1024)
    return (
        torch.empty_like(u),
        u.new_empty(one if kind & KINDS["synapse"] else (0,)),
        u.new_empty(one),
        u.new_empty(one if kind & KINDS["adaptive"] else (0,)),
        u.new_empty((parts, 11, width) if grads else (0,), dtype=torch.float64),
    )


def keep_for_scan(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads, and no more."""
    x, i0, v0, _, _, params, slope, kind, reset, attached, refractory, surrogate, _ = inputs
    _, u, i, a, ready, *_ = output
    grads = ctx.needs_input_grad[5] or ctx.needs_input_grad[6]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        x if grads else None,
        u,
        i if grads and kind & KINDS["synapse"] else None,
        a if kind & KINDS["adaptive"] else None,
        ready if refractory else None,
        i0 if grads else None,
        v0 if grads else None,
        params,
        slope,
    )
    ctx.words = (kind, reset, attached, surrogate, grads)


def scan_gradient(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Gradients of x, the initial state, the parameters and the slope."""
    x, u, i, a, ready, i0, v0, params, slope = ctx.saved_tensors
    kind, reset, attached, number, wanted = ctx.words
    spiking = bool(kind & KINDS["spiking"])
    incoming = grads[0] if spiking else grads[1]
    record = record_of(number)
    family, shape, amplitude, derivative = in_kernel(record, spiking, u, a, params, slope)
    ends = [None if g is None else g.contiguous() for g in grads[5:8]]
    dx, di0, dv0, da0, sums = torch.ops.spikegrad.scan_backward(
        incoming,
        *ends,
        x,
        u,
        i,
        a,
        ready,
        i0,
        v0,
        params,
        slope,
        amplitude,
        record.gain,
        derivative,
        kind,
        reset,
        attached,
        family,
        *shape,
        wanted,
        ctx.needs_input_grad[6],
    )
    dparams = dslope = None
    if wanted:
        total = sums.sum(0).to(u.dtype)
        dparams = total[:-1].sum(1, keepdim=True) if params.shape[1] == 1 else total[:-1]
        dslope = total[-1].sum(0, keepdim=True) if slope.shape[0] == 1 else total[-1]
    starts = [
        di0 if kind & KINDS["synapse"] else None,
        dv0,
        da0 if kind & KINDS["adaptive"] else None,
    ]
    needed = ctx.needs_input_grad[1:4]
    states = [g if need else None for g, need in zip(starts, needed, strict=True)]
    return (dx, *states, None, dparams, dslope, *[None] * 6)


def fake_events_linear(
    x: Tensor, lists: Tensor, starts: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """The output's shape and dtype."""
    return x.new_empty((x.shape[0], weight.shape[0]))


def keep_for_events(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save the spikes as lists, and the weight where the input needs a gradient."""
    _, lists, starts, weight, _ = inputs
    ctx.save_for_backward(lists, starts, weight if ctx.needs_input_grad[0] else None)
    ctx.inputs = weight.shape[1]


def events_gradient(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    """dW and db along the spikes; dx as a dense product."""
    lists, starts, weight = ctx.saved_tensors
    dx = gradient @ weight if ctx.needs_input_grad[0] else None
    dweight = dbias = None
    if ctx.needs_input_grad[3] or ctx.needs_input_grad[4]:
        dweight, dbias = torch.ops.spikegrad.events_weight_gradient(
            lists, starts, gradient.contiguous(), ctx.inputs
        )
    return dx, None, None, dweight, dbias if ctx.needs_input_grad[4] else None


def in_kernel(
    record: Surrogate,
    spiking: bool,
    u: Tensor,
    a: Tensor | None,
    params: Tensor,
    slope: Tensor,
) -> tuple[int, tuple[float, float], Tensor, Tensor | None]:
    """How the kernel gets the derivative: family, shape, amplitude; a user's one is evaluated."""
    amplitude = slope * record.gain if record.normalisation == "area" else None
    if amplitude is None:
        unit_peak = record.family.peak(**dict(record.parameters))
        amplitude = torch.full_like(slope, record.gain / unit_peak)
    if record.name in FAMILIES:
        values = [value for _, value in record.parameters] + [0.0, 0.0]
        return FAMILIES.index(record.name), (values[0], values[1]), amplitude, None
    if not spiking:
        return 0, (0.0, 0.0), amplitude, None
    theta = params[PARAMETERS.index("threshold")]
    if a is not None:
        theta = theta + params[PARAMETERS.index("kappa")] * a
    return 0, (0.0, 0.0), amplitude, record.derivative(u - theta, slope).contiguous()


def refuse(ctx: Any, *grads: Tensor) -> None:
    """A kernel's gradient has no gradient: a silent zero would be wrong."""
    raise RuntimeError(
        "expected one backward pass through a CPU kernel, got a second (create_graph=True); "
        "use backend='reference' on the layers, whose gradients can be differentiated again"
    )
