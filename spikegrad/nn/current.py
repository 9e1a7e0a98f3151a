"""The current into neurons before it is computed: a sum over connections.

Within `Module.flow` a connection returns this, so that the neurons behind it can take connection
and sum into their own call. Whatever else looks at it, an operation of torch among others, gets
the numbers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikegrad.errors import UserError, message
from spikegrad.nn.now import NOW
from spikegrad.nn.witness import Seen
from spikegrad.ragged import Packed

__all__ = ["Current", "Layer", "Source", "as_numbers", "reads_packed", "takes_packed"]


class Source(NamedTuple):
    """One connection's part: its module, what entered it, and the shape of its output.

    versions: of the input and of the parameters, when the connection was called.
    """

    connection: nn.Module
    x: Tensor
    shape: tuple[int, ...]
    versions: tuple[int, ...]

    @classmethod
    def of(cls, connection: nn.Module, x: Tensor, shape: tuple[int, ...]) -> Source:
        """A source as it is now."""
        return cls(connection, x, shape, versions(connection, x))

    def numbers(self, why: str) -> Tensor:
        """The connection's output; why: neurons do not compute it."""
        self.check_unchanged()
        began = time.perf_counter()  # never under torch.compile, where nothing waits
        y: Tensor = self.connection.forward(self.x)
        if NOW.witness is not None:
            took = time.perf_counter() - began
            NOW.witness.saw(Seen((self.connection,), self.connection, why, self.x, took), y)
        return y

    def check_unchanged(self) -> None:
        """The input and the weight as they were: the call came first, the product comes now."""
        if self.versions != versions(self.connection, self.x):
            kind = type(self.connection).__name__
            raise UserError(
                message(
                    f"expected the input and the weight of {kind} unchanged until neurons or an "
                    "operation read its output",
                    "a change in place in between",
                    "change a copy: y = x.clone()",
                )
            )


def versions(connection: nn.Module, x: Tensor) -> tuple[int, ...]:
    """What counts changes in place, of what a weight is computed from too."""
    return (x._version, *(n for p in connection.parameters() for n in (id(p), p._version)))


class Current:
    """`[T, B, *features]` as a sum of sources.

    known: the numbers once they are computed. From then on they count: they may have been changed
    in place.
    """

    __slots__ = ("grad_mode", "known", "sources")

    def __init__(self, *sources: Source) -> None:
        self.sources = sources
        self.grad_mode = torch.is_grad_enabled()
        self.known: Tensor | None = None

    def numbers(self) -> Tensor:
        """The sum as a tensor, computed once."""
        if self.grad_mode and not torch.is_grad_enabled():
            check_not_in_function()
        if self.known is None:
            count = len(self.sources)
            why = f"one of {count} connections into a sum" if count > 1 else "its output is read"
            with torch.set_grad_enabled(self.grad_mode):
                self.known = reduce(torch.add, [source.numbers(why) for source in self.sources])
        return self.known

    def __add__(self, other: Any) -> Any:
        if type(other) is Current and self.known is None and other.known is None:
            same = self.grad_mode == other.grad_mode and self.shape_of() == other.shape_of()
            if same:
                return Current(*self.sources, *other.sources)
        return self.numbers() + as_numbers(other)

    def alone(self) -> Source | None:
        """The one source, for neurons that compute it; None of several or of numbers."""
        waits = self.known is None and self.grad_mode == torch.is_grad_enabled()
        return self.sources[0] if waits and len(self.sources) == 1 else None

    def shape_of(self) -> tuple[int, ...]:
        """The sum's shape, without computing it."""
        return self.sources[0].shape

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
    "radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow matmul rmatmul "
    "and rand or ror xor rxor lshift rshift lt le gt ge eq ne neg pos abs invert bool float int "
    "index len iter getitem setitem contains format array divmod rdivmod"
)


def on_numbers(name: str) -> Any:
    """A special method that the numbers have."""

    def method(self: Current, *others: Any) -> Any:
        return getattr(self.numbers(), name)(*of_numbers(others))

    return method


for _operator in OPERATORS.split():
    setattr(Current, f"__{_operator}__", on_numbers(f"__{_operator}__"))


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
                    "the output of a connection, which is not computed yet",
                    "pass a copy: Function.apply(self.fc(x).clone())",
                )
            )
        frame = frame.f_back  # type: ignore[assignment]


def as_numbers(x: Any) -> Any:
    """A current's numbers, packed sequences of them; anything else as it is."""
    if type(x) is Packed:
        return x.map(Current.numbers) if type(x.like) is Current else x
    return x.numbers() if type(x) is Current else x


def of_numbers(values: Any) -> Any:
    """The same within tuples, lists and dicts."""
    if isinstance(values, dict):
        return {name: of_numbers(value) for name, value in values.items()}
    if isinstance(values, (tuple, list)):
        parts = [of_numbers(value) for value in values]
        return type(values)(*parts) if hasattr(values, "_fields") else type(values)(parts)
    return as_numbers(values)


class Layer(nn.Module):
    """A layer that takes a current's numbers. One without a state sees packed sequences as rows
    `[1, R, *features]`, the samples of one step, unless its `forward` is marked `reads_packed`.
    """

    def __call__(self, x: Any, *rest: Any, **named: Any) -> Any:
        x = as_numbers(x)
        if type(x) is Packed and not takes_packed(self):
            return x.map(lambda rows: super(Layer, self).__call__(rows, *rest, **named))
        return super().__call__(x, *rest, **named)


def reads_packed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a `forward` that takes `Packed` sequences and returns them."""
    forward.packed = True  # type: ignore[attr-defined]
    return forward


def takes_packed(layer: nn.Module) -> bool:
    """Whether a layer's `forward` is so marked: one of a subclass's own is not."""
    return "forward" not in vars(layer) and getattr(type(layer).forward, "packed", False)
