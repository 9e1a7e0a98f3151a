"""What layers pass on within `Module.flow` before anybody has asked for its numbers.

The layer behind may take it as it is; whatever else looks at it, an operation of torch among
others, gets the numbers.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.ragged import Packed

__all__ = ["Lazy", "as_numbers", "of_numbers"]


class Lazy:
    """Numbers `[T, B, *features]` that `compute` makes, once.

    grad_mode, inference: as they were where it was made; known: the numbers once they are computed.
    From then on they count: they may have been changed in place.
    """

    __slots__ = ("grad_mode", "inference", "known")

    remedy = "its numbers are not computed yet: pass a copy, x.clone()"
    """What to do where a function takes tensors alone."""

    def __init__(self) -> None:
        self.grad_mode = torch.is_grad_enabled()
        self.inference = torch.is_inference_mode_enabled()
        self.known: Tensor | None = None

    def compute(self) -> Tensor:
        """The numbers."""
        raise NotImplementedError

    def numbers(self) -> Tensor:
        """The same, computed at the first call."""
        if self.grad_mode and not torch.is_grad_enabled():
            check_not_in_function()
        if self.known is None:
            inference = torch.inference_mode(self.inference)  # which sets grad_mode too
            with outside_of_transforms(), inference, torch.set_grad_enabled(self.grad_mode):
                self.known = self.compute()
        return self.known

    @property
    def shape(self) -> torch.Size:
        """The numbers' shape, without computing them."""
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        """How many dimensions there are."""
        return len(self.shape)

    def dim(self) -> int:
        """The same."""
        return len(self.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one number of it."""
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return self.shape[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.numbers(), name)

    def __repr__(self) -> str:
        return repr(self.numbers())

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return function(*of_numbers(args), **of_numbers(kwargs or {}))


OPERATORS = (
    "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow matmul "
    "rmatmul and rand or ror xor rxor lshift rshift lt le gt ge eq ne neg pos abs invert bool "
    "float int index iter getitem setitem contains format array divmod rdivmod"
)


def on_numbers(name: str) -> Any:
    """A special method that the numbers have."""

    def method(self: Lazy, *others: Any) -> Any:
        return getattr(self.numbers(), name)(*of_numbers(others))

    return method


for _operator in OPERATORS.split():
    setattr(Lazy, f"__{_operator}__", on_numbers(f"__{_operator}__"))


def outside_of_transforms() -> AbstractContextManager[Any]:
    """Where `torch.func` transforms a function that reads something from outside of it: that is a
    constant, as tensors from outside are.
    """
    if torch._C._functorch.peek_interpreter_stack() is None:
        return nullcontext()
    from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

    return temporarily_clear_interpreter_stack()


def check_not_in_function() -> None:
    """No function of autograd around: it takes what is no tensor as a constant, and the gradient
    would end there without a word.
    """
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "flow":
        if frame.f_code is torch.autograd.Function.apply.__func__.__code__:  # type: ignore[attr-defined]
            raise UserError(
                message(
                    "expected a tensor in a torch.autograd.Function",
                    "the output of a layer, which is not computed yet",
                    "pass a copy: Function.apply(self.fc(x).clone())",
                )
            )
        frame = frame.f_back  # type: ignore[assignment]


def as_numbers(x: Any) -> Any:
    """The numbers of what is lazy, packed sequences of them; anything else as it is."""
    if type(x) is Packed:
        return x.map(Lazy.numbers) if isinstance(x.like, Lazy) else x
    return x.numbers() if isinstance(x, Lazy) else x


def of_numbers(values: Any) -> Any:
    """The same within tuples, lists and dicts."""
    if isinstance(values, dict):
        return {name: of_numbers(value) for name, value in values.items()}
    if isinstance(values, (tuple, list)):
        parts = [of_numbers(value) for value in values]
        return type(values)(*parts) if hasattr(values, "_fields") else type(values)(parts)
    return as_numbers(values)
