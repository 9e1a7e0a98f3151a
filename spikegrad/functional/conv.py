"""The synapse with shared weights: a convolution at every step.

y[t, b, o, p] = bias[o] + sum over c, k of weight[o, c, k] x[t, b, c, stride p - padding + k]
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["conv2d"]

Pair = tuple[int, int]


def conv2d(
    x: Tensor,
    *,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair | str = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """A convolution over a whole sequence, time folded into the batch.

    x: `[T, B, C, H, W]`; weight: `[O, C / groups, KH, KW]`; bias: `[O]` or None. Returns currents
    `[T, B, O, H', W']`.

    >>> conv2d(torch.ones(4, 2, 1, 6, 6), weight=torch.ones(8, 1, 3, 3)).shape
    torch.Size([4, 2, 8, 4, 4])
    """
    y = torch.nn.functional.conv2d(x.flatten(0, 1), weight, bias, stride, padding, dilation, groups)
    return y.unflatten(0, x.shape[:2])
