"""Memory around the products of spikes that are bits, and their launches.

Block sizes were chosen for few registers, not by measurement: no GPU was there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.emit.triton_product import PRODUCT
from spikegrad.kernels.triton.launch import start
from spikegrad.kernels.triton.module import interpreting
from spikegrad.kernels.triton.spikes import STEPS

__all__ = ["product", "shape_of_product", "shape_of_weight", "weight_gradient"]

ROWS, WIDTH, PART = 64, 64, 32
"""A block of results, and how much is summed over at a time."""
WARPS = 4
SHARE = 256
"""Lines of bytes that a program instance sums over at least: more share the work where there are
more."""
MOST_SPLITS = 16


def shape_of_product(edge: Tensor, bits: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Memory for the product, `[T, B, O]`."""
    return weight.new_empty((*edge.shape[:2], weight.shape[0]))


def product(edge: Tensor, bits: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`linear` of spikes: edge `[T, B, I]`, bits `[T/8, B, I]`, weight `[O, I]`, bias `[O]`."""
    y = shape_of_product(edge, bits, weight, bias)
    (outputs, inputs), (steps, batch) = weight.shape, edge.shape[:2]
    lines = bits.shape[0] * batch
    start(
        PRODUCT,
        "product",
        -(-lines * STEPS // ROWS) * -(-outputs // WIDTH),
        bits=bits,
        weight=weight,
        bias=weight if bias is None else bias,
        y=y,
        steps=steps,
        batch=batch,
        lines=lines,
        inputs=inputs,
        outputs=outputs,
        BIAS=bias is not None,
        **block(weight),
    )
    return y


def shape_of_weight(grad: Tensor, edge: Tensor, bits: Tensor) -> Tensor:
    """Memory for the weight's gradient, `[O, I]`."""
    return grad.new_empty((grad.shape[2], bits.shape[2]))


def weight_gradient(grad: Tensor, edge: Tensor, bits: Tensor) -> Tensor:
    """Of grad `[T, B, O]`, the gradient of the product, with the spikes of its T steps, of which
    bits has as many or more; edge: their place in autograd's graph.
    """
    (steps, batch, outputs), inputs = grad.shape, bits.shape[2]
    lines = -(-steps // STEPS) * batch
    splits = max(1, min(MOST_SPLITS, lines // SHARE))
    each = PART // STEPS  # lines at a time
    share = -(-lines // (splits * each)) * each
    wide = torch.float64 if grad.dtype == torch.float64 else torch.float32
    sums = grad.new_empty((splits, outputs, inputs), dtype=wide)
    start(
        PRODUCT,
        "weight_gradient",
        splits * -(-outputs // ROWS) * -(-inputs // WIDTH),
        grad=grad,
        bits=bits,
        sums=sums,
        steps=steps,
        batch=batch,
        lines=lines,
        share=share,
        inputs=inputs,
        outputs=outputs,
        **block(grad),
    )
    return sums.sum(0).to(grad.dtype)


def block(like: Tensor) -> dict[str, Any]:
    """How a block is computed; like: the numbers that are no spikes. Half types are summed in
    float32.
    """
    import triton.language as tl

    exact = torch.get_float32_matmul_precision() == "highest"  # as torch's own products
    return {
        "SUM": tl.float64 if like.dtype == torch.float64 else tl.float32,
        "TWICE": like.dtype == torch.float32 and exact,
        "WIDE": interpreting(),
        "ROWS": ROWS,
        "WIDTH": WIDTH,
        "PART": PART,
        "num_warps": WARPS,
        "num_stages": 1,
    }
