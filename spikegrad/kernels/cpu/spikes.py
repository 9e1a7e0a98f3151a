"""Spikes between layers, and inputs as the operators take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.kernels.cpu.schema import define
from spikegrad.ragged import EventRows

__all__ = [
    "CHOICE",
    "TILE",
    "Arrival",
    "Spikes",
    "arrived",
    "packed",
    "packed_events",
    "packed_rows",
    "register",
    "sizes_of",
    "stilled",
    "tiles",
]

TILE = 64
CHOICE = 4
"""How many numbers an operator tells of its choice: `Choice` of src/connection.h."""


def register() -> None:
    """Schemas and shapes of the operators."""
    define("pack", fake_pack, "bits ones")
    torch.library.register_fake("spikegrad::pack", fake_pack)
    define("pack_rows", fake_pack_rows, "bits ones")
    torch.library.register_fake("spikegrad::pack_rows", fake_pack_rows)
    define("pack_events", fake_pack_events, "bits again")
    torch.library.register_fake("spikegrad::pack_events", fake_pack_events)
    define("same_every_step(Tensor x) -> bool")
    torch.library.register_fake(
        "spikegrad::same_every_step", lambda x: False
    )  # no values, no claim


def fake_pack(x: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs' shapes and dtypes."""
    words = x.new_empty((*x.shape[:2], tiles(x.shape[2])), dtype=torch.int64)
    return words, x.new_empty((1,), dtype=torch.int64)


def fake_pack_rows(x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The same."""
    words = x.new_empty((1, len(index), tiles(x.shape[1])), dtype=torch.int64)
    return words, x.new_empty((1,), dtype=torch.int64)


def fake_pack_events(rows: Tensor, units: Tensor, count: int, size: int) -> tuple[Tensor, Tensor]:
    """The same."""
    words = rows.new_empty((1, count, tiles(size)), dtype=torch.int64)
    return words, rows.new_empty((1,), dtype=torch.int64)


def tiles(columns: int) -> int:
    """Words, or tiles, of so many columns."""
    return -(-columns // TILE)


def sizes_of(x: Tensor, in_bits: Tensor | None, weight: Tensor | None) -> tuple[Any, ...]:
    """T, B and I of a call: an x of places alone leaves them to the others."""
    if x.dim() == 1 and in_bits is not None and weight is not None:
        return (*in_bits.shape[:2], weight.shape[1])
    return tuple(x.shape)


class Spikes(NamedTuple):
    """Spikes `[T, B, N]` between two layers.

    edge: their place in autograd's graph, zeros without memory: of that shape, or one for every
    place that support names, in the order of src/places.h; bits, support: 64 columns a word, `[T,
    B, words]`; support says where the surrogate's derivative is not 0, None where it has tails:
    elsewhere nobody reads a gradient; columns: N; steady: `[B, N]`, a second edge beside one of
    places, for a gradient that is the same at every step.
    """

    edge: Tensor
    bits: Tensor
    support: Tensor | None
    columns: int
    steady: Tensor | None = None

    @property
    def whole(self) -> Tensor:
        """Zeros of the spikes' shape and dtype, without memory."""
        return self.edge.detach().new_zeros(()).expand(self.shape)

    @property
    def device(self) -> torch.device:
        return self.edge.device

    @property
    def dtype(self) -> torch.dtype:
        return self.edge.dtype

    @property
    def shape(self) -> torch.Size:
        return torch.Size((*self.bits.shape[:2], self.columns))


def packed(x: Tensor) -> Spikes | None:
    """The zeros and ones of x `[T, B, N]` as `Spikes` whose edge is x; None for other values."""
    if torch.compiler.is_compiling() or not x.is_contiguous():
        return None
    bits, ones = torch.ops.spikegrad.pack(x.detach())
    return Spikes(x, bits, None, x.shape[2]) if ones.item() >= 0 else None


def packed_rows(x: Tensor, index: Tensor) -> Spikes | None:
    """The rows `index` of x `[rows, N]` as `Spikes` `[1, R, N]` where they are zeros and ones, for
    nobody who wants a gradient; None for other values.
    """
    if torch.compiler.is_compiling() or not x.is_contiguous():
        return None
    bits, ones = torch.ops.spikegrad.pack_rows(x.detach(), index)
    edge = x.new_zeros(()).expand(1, len(index), x.shape[1])
    return Spikes(edge, bits, None, x.shape[1]) if ones.item() >= 0 else None


def packed_events(x: EventRows, rows: int) -> Spikes | None:
    """Events as `Spikes` `[1, rows, size]`; None where one is a count above 1."""
    if torch.compiler.is_compiling() or x.like.device.type != "cpu":
        return None
    bits, again = torch.ops.spikegrad.pack_events(x.rows, x.units, rows, x.size)
    if x.counted and again.item():
        return None
    edge = x.like.detach().new_zeros(()).expand(1, rows, x.size)
    return Spikes(edge, bits, None, x.size)


def stilled(x: Tensor) -> Tensor:
    """x `[T, B, N]`, as one step seen T times where all steps are equal and nobody wants its
    gradient.
    """
    if torch.compiler.is_compiling() or x.requires_grad or not x.is_contiguous():
        return x
    alike = x.shape[0] > 1 and torch.ops.spikegrad.same_every_step(x)
    return x[0].expand(x.shape) if alike else x


class Arrival(NamedTuple):
    """An input as the operator takes it; shape: `[T, B, I]`."""

    x: Tensor
    bits: Tensor | None
    support: Tensor | None
    steady: Tensor | None
    shape: torch.Size


def arrived(x: Tensor | Spikes) -> Arrival:
    """Spikes, dense rows, or one step seen T times."""
    if isinstance(x, Spikes):
        return Arrival(x.edge, x.bits, x.support, x.steady, x.shape)
    # A trace of lengths that vary cannot ask a contiguous tensor for its stride.
    if not x.is_contiguous() and x.shape[0] > 1 and x.stride(0) == 0:
        step = x[0]
        x = x if step.is_contiguous() else step.contiguous().expand(x.shape)
    else:
        x = x.contiguous()
    return Arrival(x, None, None, None, x.shape)
