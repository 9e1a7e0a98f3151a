"""Time folded into the batch: how layers without memory see `[T, B, ...]`.

An input that is the same at every step (an `expand`ed view, stride 0 over time) is computed once
and expanded again, by layers whose output depends on nothing but their input.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikegrad.checks import check_current
from spikegrad.errors import UserError, message

__all__ = ["PURE", "fold", "is_static", "one_step", "repeated"]

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
    return x.shape[0] > 1 and x.stride(0) == 0


def repeated(step: Tensor, steps: int) -> Tensor:
    """One step `[1, B, ...]` seen `steps` times, without a copy: static, if it is more than once.

    >>> is_static(repeated(torch.ones(1, 2, 3), 5))
    True
    """
    x = step.expand(steps, *step.shape[1:])
    if steps > 1 and step.shape[0] == 1 and not torch.compiler.is_compiling():
        x.repeats = step  # type: ignore[attr-defined]
    return x


def one_step(x: Tensor) -> Tensor:
    """The step `[1, B, ...]` that a static x repeats; any other x as it is.

    Of what `repeated` made it is that step itself: the gradient of a slice would be written into
    zeros of T steps, and these be added up. Where a hook waits for the gradient of x, it is the
    slice, so that the hook sees it.

    >>> one_step(torch.ones(1, 2).expand(5, 2)).shape
    torch.Size([1, 2])
    """
    if not is_static(x):
        return x
    step: Tensor | None = getattr(x, "repeats", None)
    if step is None or x._backward_hooks or x.retains_grad:
        return x[:1]
    same = x.data_ptr() == step.data_ptr() and x.shape[1:] == step.shape[1:]
    return step if same and x.requires_grad == step.requires_grad else x[:1]


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
        y = module(one_step(x).squeeze(0))
        check_rows(module, y, x.shape[1])
        return repeated(y.unsqueeze(0), x.shape[0])
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
