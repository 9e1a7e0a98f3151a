"""A batch as a loader yields it: samples, labels, and how many steps each sample has."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.ragged import Events, check_lengths

__all__ = ["Batch", "batch_of"]


class Batch(NamedTuple):
    """Samples x `[B, *features]`, or `[B, T, *features]` of sequences, or `Events`; labels
    `[B, ...]`, None where there are none; lengths int64 `[B]` on the CPU, the steps of every
    sequence, None for T each: what stands behind them is padding.
    """

    x: Tensor | Events
    labels: Tensor | None = None
    lengths: Tensor | None = None

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self.x.lengths) if isinstance(self.x, Events) else len(self.x)

    @property
    def longest(self) -> int:
        """The steps of the longest sequence; 0 where no lengths are known, or no sample is."""
        lengths = self.lengths
        return int(lengths.max()) if lengths is not None and len(lengths) else 0

    def trimmed(self, longest: int | None = None) -> Batch:
        """Without the steps behind the longest sequence (longest: of others too)."""
        if self.lengths is None:
            return self
        steps = self.longest if longest is None else longest
        if isinstance(self.x, Events):
            return self._replace(x=self.x.padded_to(steps))
        return self._replace(x=self.x[:, :steps])

    def standing_in(self, longest: int) -> Batch:
        """One sample of zeros with so many steps, for a process that has none of its own."""
        lengths = None if self.lengths is None else torch.tensor([longest])
        if isinstance(self.x, Events):
            assert lengths is not None
            return self._replace(x=Events.silent(self.x, lengths), lengths=lengths)
        return self._replace(x=self.x.new_zeros(1, *self.x.shape[1:]), lengths=lengths)

    def part(self, samples: slice) -> Batch:
        """Some of the samples."""
        x, labels, lengths = self
        return Batch(
            x.part(samples).padded_to(x.steps) if isinstance(x, Events) else x[samples],
            None if labels is None else labels[samples],
            None if lengths is None else lengths[samples],
        )

    @classmethod
    def joined(cls, batches: list[Batch]) -> Batch:
        """Samples of several batches, sequences padded with zeros to the longest.

        Raises:
            UserError: some have labels or lengths and others none, or samples of other shapes.
        """
        for name, parts in zip(cls._fields, zip(*batches, strict=True), strict=True):
            if len({part is None for part in parts}) > 1:
                expected = f"expected {name} in all batches, or in none"
                raise UserError(message(expected, "some with and some without"))
        lengths = [b.lengths for b in batches if b.lengths is not None]
        xs: list[Any] = [b.x for b in batches]
        if len({type(x) is Events for x in xs}) > 1:
            expected = "expected events in all batches, or in none"
            raise UserError(message(expected, "some with and some without"))
        if lengths and type(xs[0]) is not Events:
            steps = max(x.shape[1] for x in xs)
            xs = [filled(x, steps) for x in xs]
        labels = [b.labels for b in batches if b.labels is not None]
        return cls(
            Events.batch(xs) if type(xs[0]) is Events else torch.cat(xs),
            torch.cat(labels) if labels else None,
            torch.cat(lengths) if lengths else None,
        )


def filled(x: Tensor, steps: int) -> Tensor:
    """Sequences `[B, T, *features]` with zeros up to so many steps."""
    lacking = steps - x.shape[1]
    return torch.cat([x, x.new_zeros(len(x), lacking, *x.shape[2:])], 1) if lacking else x


def batch_of(given: Any) -> Batch:
    """A batch as the loader gave it: x alone, (x, y), or (x, y, lengths), where y may be None.

    x may be `Events`, which have lengths of their own.

    Raises:
        UserError: something else, parts of other sizes, or lengths out of range.
        TypeError: lengths that are no whole numbers.
    """
    if isinstance(given, Batch):
        return given
    parts: Any = (given,) if isinstance(given, (Tensor, Events)) else given
    fits = isinstance(parts, (tuple, list)) and len(parts) in (1, 2, 3)
    kinds = [isinstance(part, Tensor) for part in parts] if fits else []
    if kinds and type(parts[0]) is Events:
        return of_events(*parts)
    if len(kinds) == 3 and parts[1] is None:
        kinds[1] = True
    if not fits or not all(kinds):
        expected = "expected batches (x, y) of two tensors"
        remedy = "or x alone, for a loss without labels; or (x, y, lengths) for padded sequences"
        if "numpy.ndarray" in str([type(part) for part in (given, *items(given))]):
            remedy = "they are NumPy arrays: use torch.from_numpy, or a DataLoader, which does"
        raise UserError(message(expected, named(given), remedy))
    x, y, lengths = [*parts, None, None][:3]
    if x.dim() < 2 or (y is not None and (y.dim() < 1 or len(x) != len(y))):
        got = " and ".join(str(list(part.shape)) for part in (x, y) if part is not None)
        raise UserError(message("expected x [B, ...] and labels y [B]", got))
    if lengths is not None:
        if x.dim() < 3:
            expected = "expected sequences x [B, T, *features] in batches (x, y, lengths)"
            raise UserError(message(expected, str(list(x.shape))))
        if len(x) or len(lengths):
            lengths = check_lengths(lengths, x.shape[1], len(x))
        else:  # the share of a process for which no sample is left
            lengths = torch.zeros(0, dtype=torch.int64)
    return Batch(x, y if y is None or y.is_floating_point() else y.long(), lengths)


def of_events(events: Events, y: Any = None, lengths: Any = None) -> Batch:
    """A batch of recordings."""
    if lengths is not None:
        expected = "expected no lengths beside events, which have their own"
        raise UserError(message(expected, f"a {type(lengths).__name__}", "omit lengths"))
    if y is not None and not isinstance(y, Tensor):
        raise UserError(message("expected labels as a tensor [B]", type(y).__name__))
    if y is not None and (y.dim() < 1 or len(y) != len(events.lengths)):
        got = f"labels {list(y.shape)} of {len(events.lengths)} recordings"
        remedy = "put them together with Events.batch, or collate_fn=Events.collate"
        raise UserError(message("expected labels y [B], one for each recording", got, remedy))
    return Batch(events, y if y is None or y.is_floating_point() else y.long(), events.lengths)


def items(given: Any) -> tuple[Any, ...]:
    """The parts of a batch."""
    return tuple(given) if isinstance(given, (tuple, list)) else ()


def named(given: Any) -> str:
    """What a batch is, in words."""
    kinds = [type(part).__name__ for part in items(given)]
    kind = type(given).__name__
    return f"{kind} of {len(kinds)} ({', '.join(kinds[:3])})" if kinds else kind
