"""What torch must know of the scans: shapes for tracing, gradients, no second derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.derivative import amplitude_of, family_of, refuse
from spikegrad.kernels.cpu.library import KINDS, PARAMETERS, record_of

__all__ = ["register"]


def register() -> None:
    """Shapes and gradients of the operators."""
    torch.library.register_fake("spikegrad::scan", fake_scan)
    torch.library.register_fake("spikegrad::scan_backward", fake_scan_backward)
    torch.library.register_autograd("spikegrad::scan", scan_gradient, setup_context=keep_for_scan)
    torch.library.register_autograd("spikegrad::scan_backward", refuse)


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
    family, *shape = family_of(record)
    derivative = None
    if family < 0 and spiking:  # a user's own: torch evaluates it
        theta = params[PARAMETERS.index("threshold")]
        if a is not None and kind & KINDS["adaptive"]:
            theta = theta + params[PARAMETERS.index("kappa")] * a
        derivative = record.derivative(u - theta, slope).contiguous()
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
        amplitude_of(record, slope),
        record.gain,
        derivative,
        kind,
        reset,
        attached,
        max(family, 0),
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
