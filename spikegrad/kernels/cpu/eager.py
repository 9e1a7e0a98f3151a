"""An operator's registered gradient on a shorter way than torch's.

The wrapper that `torch.library.register_autograd` puts around every call costs some 0.1 ms, a
tenth of a small network's step. Where nothing is traced the same two functions serve an autograd
function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["below_autograd", "eager", "refuse"]

Outputs = tuple[Tensor, ...]


def eager(
    operator: Callable[..., Outputs],
    keep: Callable[[Any, tuple[Any, ...], Outputs], None],
    gradient: Callable[..., tuple[Any, ...]],
) -> Callable[..., Outputs]:
    """The operator, to be called with tensors; keep, gradient: as they are registered for it."""

    class Eager(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Outputs:
            with torch._C._AutoDispatchBelowAutograd():
                output = operator(*inputs)
            keep(ctx, inputs, output)
            return output

        @staticmethod
        def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
            return gradient(ctx, *grads)

    # Without what `Function.apply` does for torch.func, under which the reference runs.
    apply = super(torch.autograd.Function, Eager).apply

    def run(*inputs: Any) -> Outputs:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return operator(*inputs)
        return apply(*inputs)

    return run


def below_autograd(operator: Callable[..., Outputs], *inputs: Any) -> Outputs:
    """A gradient's operator; through autograd only where its own gradient may be asked for."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return operator(*inputs)
    with torch._C._AutoDispatchBelowAutograd():
        return operator(*inputs)


def refuse(ctx: Any, *grads: Tensor) -> None:
    """A kernel's gradient has no gradient: a silent zero would be wrong."""
    raise RuntimeError(
        "expected one backward pass through a CPU kernel, got a second (create_graph=True); "
        "use backend='reference' on the layers, whose gradients can be differentiated again"
    )
