"""Whole numbers, as chips compute with them: operations for a neuron's step.

    rounded(x) = round(x), to even where x is half way
    truncated(x) = x without its fraction, towards 0

Their derivative is 0 almost everywhere. The straight-through estimator takes 1 instead. A step that
scales its values, `rounded(64 * v) / 64`, computes in fixed point.
Source: Bengio, Leonard & Courville (2013), arXiv:1308.3432 (straight-through).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from spikegrad.checks import check_choice

__all__ = ["RoundingGradient", "rounded", "truncated"]

RoundingGradient: TypeAlias = Literal["zero", "straight_through"]


def rounded(x: Tensor, gradient: RoundingGradient = "straight_through") -> Tensor:
    """The nearest whole number; of two the even one.

    x: any shape, finite; gradient: "straight_through" (1) or "zero". Raises UserError for another
    word. May be used in a step, in native kernels too.

    >>> x = torch.tensor([0.4, 1.5, -2.5], requires_grad=True)
    >>> y = rounded(x); y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([0.0, 2.0, -2.0], [1.0, 1.0, 1.0])
    """
    return whole(torch.round, x, gradient)


def truncated(x: Tensor, gradient: RoundingGradient = "straight_through") -> Tensor:
    """x without its fraction. Arguments and errors: `rounded`.

    >>> truncated(torch.tensor([0.9, 1.5, -2.5])).tolist()
    [0.0, 1.0, -2.0]
    """
    return whole(torch.trunc, x, gradient)


def whole(function: Callable[[Tensor], Tensor], x: Tensor, gradient: RoundingGradient) -> Tensor:
    """A rounding with the gradient asked for."""
    check_choice(gradient, "gradient", get_args(RoundingGradient))
    if gradient == "zero":
        return function(x)
    return x + (function(x) - x).detach()  # the difference is exact, and so is the sum
