"""The synapse with shared weights: a convolution at every step.

y[t, b, o, p] = bias[o] + sum over c, k of weight[o, c, k] x[t, b, c, stride p - padding + k]
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["conv2d", "met"]

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
    rows, stride, padding = met(x.flatten(0, 1), weight, stride, padding)
    y = torch.nn.functional.conv2d(rows, weight, bias, stride, padding, dilation, groups)
    return y.unflatten(0, x.shape[:2])


def met(
    rows: Tensor, weight: Tensor, stride: Pair, padding: Pair | str
) -> tuple[Tensor, Pair, Pair | str]:
    """Rows `[R, C, H, W]`, stride and padding of the same convolution; for a kernel of 1 x 1 with a
    stride the pixels that it meets alone, and a stride of 1.

    Not only because that is less to read: in the gradient of such a kernel torch 2.13 on a CPU
    writes beyond a buffer where images are channels-last and have few channels, and the process
    ends or goes on with damaged memory.
    """
    if tuple(weight.shape[2:]) != (1, 1) or tuple(stride) == (1, 1):
        return rows, stride, padding
    if not isinstance(padding, str) and tuple(padding) != (0, 0):
        rows = pad(rows, (padding[1], padding[1], padding[0], padding[0]))
    return rows[:, :, :: stride[0], :: stride[1]], (1, 1), (0, 0)
