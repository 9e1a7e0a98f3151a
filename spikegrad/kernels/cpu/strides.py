"""Channels-last inputs of scans: read as they lie in memory, not copied.

A scan is elementwise over neurons, so any order of them will do where parameters are the same for
all. The native convolutions give `[T, B, C, H, W]` with channels last in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

__all__ = ["as_it_lies", "is_channels_last"]


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


def as_it_lies(run: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """A run of a scan that takes a channels-last x in that order, and gives it back in it."""

    @functools.wraps(run)
    def wrapped(
        x: Tensor, state: Sequence[Tensor | None], values: dict[str, Any], *kinds: str, **words: Any
    ) -> list[Any]:
        tensors = [v for v in (*values.values(), *words.values()) if isinstance(v, Tensor)]
        if any(v.numel() != 1 for v in tensors) or not is_channels_last(x):
            return run(x, state, values, *kinds, **words)
        start = tuple(None if p is None else p.permute(0, 2, 3, 1) for p in state)
        out = run(x.permute(0, 1, 3, 4, 2), start, values, *kinds, **words)
        return [None if p is None else p.movedim(-1, -3) for p in out]

    return wrapped
