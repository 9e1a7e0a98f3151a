"""Channels-last inputs of scans: read as they lie in memory, not copied.

A scan is elementwise over neurons, so any order of them will do where parameters are the same for
all. The native convolutions give `[T, B, C, H, W]` with channels last in memory.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["is_channels_last"]


def is_channels_last(x: Tensor) -> bool:
    """Whether x `[T, B, C, H, W]` has the channels of a pixel side by side, steps densely.

    >>> import torch
    >>> x = torch.ones(4, 2, 6, 6, 3).permute(0, 1, 4, 2, 3)
    >>> is_channels_last(x), is_channels_last(x.contiguous())
    (True, False)
    """
    if x.dim() != 5 or x[0].is_contiguous():
        return False
    return x[0].permute(0, 2, 3, 1).is_contiguous()
