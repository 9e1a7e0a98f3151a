"""The current into neurons before it is computed: a sum over connections.

Within `Module.flow` a connection returns this, so that the neurons behind it can take connection
and sum into their own call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikegrad.errors import UserError, message
from spikegrad.nn.lazy import Lazy, as_numbers
from spikegrad.nn.now import NOW
from spikegrad.nn.signal import Signal
from spikegrad.nn.witness import Seen
from spikegrad.ragged import Packed

__all__ = ["Current", "Layer", "Source", "reads_packed", "takes_packed"]


class Source(NamedTuple):
    """One connection's part: its module, what entered it, and the shape of its output.

    versions: of the input and of the parameters, when the connection was called.
    """

    connection: nn.Module
    x: Tensor | Signal
    shape: tuple[int, ...]
    versions: tuple[int, ...]

    @classmethod
    def of(cls, connection: nn.Module, x: Tensor | Signal, shape: tuple[int, ...]) -> Source:
        """A source as it is now."""
        return cls(connection, x, shape, versions(connection, x))

    def numbers(self, why: str) -> Tensor:
        """The connection's output; why: neurons do not compute it."""
        began = time.perf_counter()  # never under torch.compile, where nothing waits
        try:
            self.check_unchanged()
            y: Tensor = self.connection.forward(self.x)
        except (UserError, TypeError) as error:
            if NOW.keeper is not None:
                NOW.keeper.name(error, self.connection)
            raise
        if NOW.witness is not None:
            took = time.perf_counter() - began
            x = self.x.numbers() if isinstance(self.x, Signal) else self.x
            NOW.witness.saw(Seen((self.connection,), self.connection, why, x, took), y)
        return y

    @property
    def bits(self) -> Any:
        """What enters a backend's layer: spikes as bits, or numbers."""
        return self.x.read() if isinstance(self.x, Signal) else self.x

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


def versions(connection: nn.Module, x: Tensor | Signal) -> tuple[int, ...]:
    """What counts changes in place, of what a weight is computed from too."""
    held = (*connection.parameters(), *connection.buffers())
    return (x._version, *(n for p in held for n in (id(p), 0 if p.is_inference() else p._version)))


class Current(Lazy):
    """`[T, B, *features]` as a sum of sources; why: neurons do not compute several, "" before they
    tried.
    """

    __slots__ = ("sources", "why")

    def __init__(self, *sources: Source) -> None:
        super().__init__()
        self.sources, self.why = sources, ""

    def compute(self) -> Tensor:
        """The sum, connection by connection."""
        count = len(self.sources)
        why = f"one of {count} connections into a sum" if count > 1 else "its output is read"
        why += f": {self.why}" if self.why else ""
        return reduce(torch.add, [source.numbers(why) for source in self.sources])

    def __add__(self, other: Any) -> Any:
        if type(other) is Current and self.known is None and other.known is None:
            same = self.grad_mode == other.grad_mode and self.shape == other.shape
            if same:
                return Current(*self.sources, *other.sources)
        check_sum(self, other)
        return self.numbers() + as_numbers(other)

    @property
    def waits(self) -> bool:
        """Whether neurons may still compute it: nobody has, and gradients are as they were."""
        return self.known is None and self.grad_mode == torch.is_grad_enabled()

    @property
    def shape(self) -> torch.Size:
        """The sum's shape, without computing it."""
        return torch.Size(self.sources[0].shape)


def check_sum(current: Current, other: Any) -> None:
    """Shapes that have a sum."""
    if not isinstance(other, (Lazy, Tensor)):
        return
    try:
        torch.broadcast_shapes(current.shape, other.shape)
    except RuntimeError:
        parts = " and ".join(said(part) for part in (current, other))
        remedy = "give the connections of a sum as many outputs as the neurons behind it have"
        raise UserError(message("expected a sum of equal shapes", parts, remedy)) from None


def said(part: Lazy | Tensor) -> str:
    """A part of a sum for a message: its shape, and the connections that it comes from."""
    if not isinstance(part, Current):
        return f"{list(part.shape)} (a tensor)"
    names = {} if NOW.keeper is None else NOW.keeper.names
    layers = [source.connection for source in part.sources]
    kinds = [type(layer).__name__ for layer in layers]
    known = [names.get(layer, "") for layer in layers]
    words = [f"{name} ({kind})" if name else kind for name, kind in zip(known, kinds, strict=True)]
    return f"{list(part.shape)} of {' + '.join(words)}"


class Layer(nn.Module):
    """A layer that takes the numbers of what is lazy. One without a state sees packed sequences as
    rows `[1, R, *features]`, the samples of one step, unless its `forward` is marked
    `reads_packed`.
    """

    def __call__(self, x: Any, *rest: Any, **named: Any) -> Any:
        x = as_numbers(x)
        keeper = NOW.keeper
        if keeper is None or torch.compiler.is_compiling():  # no graph breaks within `try`
            return self.of_rows(x, *rest, **named)
        try:
            return self.of_rows(x, *rest, **named)
        except (UserError, TypeError) as error:
            keeper.name(error, self)
            raise

    def of_rows(self, x: Any, *rest: Any, **named: Any) -> Any:
        """Its call with numbers; of packed sequences with their rows, if it takes no others."""
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
