"""Mean and variance of every channel, as batch norms see them, with their gradient in one pass.

dL/dx = (dL/dmean + 2 dL/dvar (x - mean)) / n
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.eager import eager

__all__ = ["moments"]

HALF = (torch.float16, torch.bfloat16)


def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance `[C]` over all but the channels of `[rows, C, ...]`, of all n values.

    In float32 for half types.

    >>> mean, var = moments(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    >>> mean.tolist(), var.tolist()
    ([2.0, 0.0], [1.0, 0.0])
    """
    mean, var = run(rows)
    return mean, var


def computed(rows: Tensor) -> tuple[Tensor, ...]:
    """By torch, whose own gradient of the two makes several tensors of the size of x."""
    wide = rows.float() if rows.dtype in HALF else rows
    var, mean = torch.var_mean(wide, [0, *range(2, rows.dim())], correction=0)
    return mean, var


def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save the input and the mean."""
    ctx.save_for_backward(inputs[0], output[0])


def gradient(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Of the input."""
    rows, mean = ctx.saved_tensors
    of_mean, of_var = grads
    assert of_mean is not None
    assert of_var is not None
    shape = [-1, *[1] * (rows.dim() - 2)]
    n = rows.numel() // rows.shape[1]
    slope = 2.0 / n * of_var
    start = of_mean / n - slope * mean
    wide = rows.float() if rows.dtype in HALF else rows
    found = torch.addcmul(start.reshape(shape), wide, slope.reshape(shape))
    return (found.to(rows.dtype),)


run = eager(computed, keep, gradient)
