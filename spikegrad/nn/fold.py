"""Time folded into the batch: how layers without memory see `[T, B, ...]`.

An input that is the same at every step (an `expand`ed view, stride 0 over time) is computed once
and expanded again, by layers whose output depends on nothing but their input.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from spikegrad.checks import check_current
from spikegrad.errors import UserError, message

__all__ = ["PURE", "fold", "is_static"]

PURE = (
    nn.Linear,
    nn.Identity,
    nn.Flatten,
    nn.ReLU,
    nn.modules.conv._ConvNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._MaxPoolNd,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.LayerNorm,
    nn.GroupNorm,
)
"""Plain torch modules that a static input may pass once instead of T times."""


def is_static(x: Tensor) -> bool:
    """Whether x is one step seen T times (stride 0 over time)."""
    return x.shape[0] > 1 and not x.is_contiguous() and x.stride(0) == 0


def fold(module: Callable[[Tensor], Tensor], x: Tensor, *, pure: bool = True) -> Tensor:
    """Apply a memoryless function of `[B, ...]` to x `[T, B, ...]`.

    pure: whether its output depends on its input alone (no randomness, no batch statistics).
    Raises UserError when the result is no tensor of T*B rows.

    >>> import torch
    >>> fold(torch.nn.Linear(3, 2), torch.ones(4, 5, 3)).shape
    torch.Size([4, 5, 2])
    """
    check_current(x, floating=False)
    if pure and is_static(x):
        y = module(x[0])
        check_rows(module, y, x.shape[1])
        return y.expand(x.shape[0], *y.shape)
    y = module(x.flatten(0, 1))
    check_rows(module, y, x.shape[0] * x.shape[1])
    return y.unflatten(0, x.shape[:2])


def check_rows(module: object, y: object, rows: int) -> None:
    """The module kept the folded batch."""
    if isinstance(y, Tensor) and y.dim() >= 1 and y.shape[0] == rows:
        return
    got = str(list(y.shape)) if isinstance(y, Tensor) else type(y).__name__
    raise UserError(
        message(
            f"expected {type(module).__name__} to map [T*B={rows}, ...] to a tensor [T*B, ...]",
            got,
            "in a Sequential it gets time and batch as one axis",
        )
    )
