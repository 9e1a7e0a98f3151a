"""The synapse: a product with the weights at every step.

y[t] = x[t] W^T + b
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["linear"]


def linear(x: Tensor, *, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear connection over a whole sequence.

    x: `[T, B, in]`; weight: `[out, in]`; bias: `[out]` or None. Returns currents `[T, B, out]`.

    >>> linear(torch.ones(4, 5, 3), weight=torch.ones(2, 3)).shape
    torch.Size([4, 5, 2])
    """
    return torch.nn.functional.linear(x, weight, bias)
