"""What torch must know of the scans: shapes for tracing, gradients, no second derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.derivative import amplitude_of, evaluated, own_function, refuse
from spikegrad.kernels.cpu.eager import below_autograd, eager
from spikegrad.kernels.cpu.library import KINDS, PARAMETERS, RESETS
from spikegrad.kernels.cpu.neuron import few

__all__ = ["register", "run"]

TILE = 64
BLOCK = 1024  # kBlock of src/scan.h


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
    words: Sequence[int],
    numbers: Sequence[float],
) -> tuple[Tensor, ...]:
    """The outputs' shapes and dtypes."""
    kind, reset, _, refractory, *_ = words
    keep, graph = words[6], words[9]
    syn, ada, fire = (bool(kind & KINDS[k]) for k in ("synapse", "adaptive", "spiking"))
    whole, one = x.shape, x.shape[1:]
    count, wide = blocks(params, one)
    block = (count, x.shape[0], wide)

    def made(there: bool, shape: Sequence[int], dtype: torch.dtype = x.dtype) -> Tensor:
        return x.new_empty(shape if there else (0,), dtype=dtype)

    u = made(bool(graph) or kind != KINDS["spiking"] or refractory > 0, whole)
    if few(words):
        u = made(True, (*block[:2], wide * TILE))
    return (
        made(fire, whole),
        u,
        made(syn and bool(keep) and bool(graph), whole),
        made(ada, whole),
        made(refractory > 0, whole, torch.uint8),
        made(few(words), block, torch.int64),
        made(few(words) and RESETS[reset] == "zero", block, torch.int64),
        made(syn, one),
        made(True, one),
        made(ada, one),
        made(refractory > 0, one, torch.int32),
    )


def blocks(params: Tensor, one: Sequence[int]) -> tuple[int, int]:
    """How src/scan.h cuts `[B, N]`: blocks, and the tiles of each."""
    batch, features = one
    rows, columns = (batch, features) if params.shape[1] > 1 else (1, batch * features)
    return rows * -(-columns // BLOCK), -(-min(BLOCK, columns) // TILE)


def fake_scan_backward(*args: Any) -> tuple[Tensor, ...]:
    """The gradients' shapes and dtypes."""
    u, params, sizes, words = args[5], args[13], args[17], args[19]
    kind, keep, (steps, *one) = words[0], words[6], sizes
    width = params.shape[1]
    parts = one[0] if width > 1 else blocks(params, one)[0]
    return (
        u.new_empty((steps, *one)),
        u.new_empty(one if kind & KINDS["synapse"] else (0,)),
        u.new_empty(one),
        u.new_empty(one if kind & KINDS["adaptive"] else (0,)),
        u.new_empty((parts, 11, width) if keep else (0,), dtype=torch.float64),
    )


def keep_for_scan(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads, and no more."""
    x, i0, v0, _, _, params, slope, words, numbers = inputs
    _, u, i, a, ready, support, bits, *_ = output
    kind, keep, refractory = words[0], words[6], words[3]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        x if keep else None,
        u,
        i if keep and kind & KINDS["synapse"] else None,
        a if kind & KINDS["adaptive"] else None,
        ready if refractory else None,
        support if support.numel() else None,
        bits if bits.numel() else None,
        i0 if keep else None,
        v0 if keep else None,
        params,
        slope,
    )
    ctx.words, ctx.numbers, ctx.sizes = words, numbers, list(x.shape)
    ctx.own = own_function(words[4])


def scan_gradient(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Gradients of x, the initial state, the parameters and the slope."""
    x, u, i, a, ready, support, bits, i0, v0, params, slope = ctx.saved_tensors
    kind, family, keep = (ctx.words[k] for k in (0, 5, 6))
    spiking = bool(kind & KINDS["spiking"])
    incoming = grads[0] if spiking else grads[1]
    amplitude = amplitude_of(slope, *ctx.numbers[5:])
    derivative = None
    if family < 0 and spiking:
        theta = params[PARAMETERS.index("threshold")]
        if a is not None and kind & KINDS["adaptive"]:
            theta = theta + params[PARAMETERS.index("kappa")] * a
        derivative = evaluated(ctx.own, u - theta, slope, amplitude)
    ends = [None if g is None else g.contiguous() for g in grads[7:10]]
    dx, di0, dv0, da0, sums = below_autograd(
        torch.ops.spikegrad.scan_backward,
        incoming,
        *ends,
        x,
        u,
        i,
        a,
        ready,
        support,
        bits,
        i0,
        v0,
        params,
        slope,
        amplitude,
        derivative,
        ctx.sizes,
        ctx.needs_input_grad[6],
        ctx.words,
        ctx.numbers,
    )
    dparams = dslope = None
    if keep:
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
    return (dx, *states, None, dparams, dslope, None, None)


run = eager(lambda *inputs: torch.ops.spikegrad.scan(*inputs), keep_for_scan, scan_gradient)
