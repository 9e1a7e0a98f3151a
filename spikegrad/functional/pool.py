"""Max-pooling at every step; of spikes: whether any in a window spiked.

y[t, b, c, p] = max over k of x[t, b, c, stride p - padding + k]
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.functional.conv import Pair

__all__ = ["max_pool2d"]


def max_pool2d(x: Tensor, *, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> Tensor:
    """The maximum over windows of a whole sequence, time folded into the batch.

    x: `[T, B, C, H, W]`. Returns `[T, B, C, H', W']`; the gradient of a window goes to its maximum,
    the first of equals.

    >>> max_pool2d(torch.ones(4, 2, 1, 6, 6), kernel=(2, 2), stride=(2, 2)).shape
    torch.Size([4, 2, 1, 3, 3])
    """
    y = torch.nn.functional.max_pool2d(x.flatten(0, 1), kernel, stride, padding)
    return y.unflatten(0, x.shape[:2])
