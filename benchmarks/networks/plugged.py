"""A triangle of slope 2 for libraries that take a spike function and have no such triangle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Triangle"]


class Triangle(torch.autograd.Function):
    """Forward `x > 0`, backward `2 max(0, 1 - 2|x|)`: written as the libraries write theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * torch.clamp_min(2.0 - 4.0 * x.abs(), 0.0)
