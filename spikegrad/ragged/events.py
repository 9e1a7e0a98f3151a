"""Recordings of spikes as lists of events: times and units, without a frame of zeros."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spikegrad.checks import check_choice, check_positive
from spikegrad.errors import UserError, message
from spikegrad.ragged.packing import Packing

__all__ = ["EventRows", "Events", "as_frame"]

EDGE = 1e-6
"""Of a step: an event so little before a step counts as its first, or as little as its number
format tells apart: a time is rarely a multiple of dt to the last digit."""


MOST_STEPS = 2**31 - 1
"""Of a recording; more are a mistake in the unit of times."""


class EventRows(NamedTuple):
    """Events of sequences of different length in their rows (`Packing`).

    rows, units: int64 `[E]`, contiguous and on the device of `like`, a pair as often as it came;
    counted: whether the events of one pair count, or are one spike; size: units; like: a tensor of
    the dtype and on the device that numbers shall have.
    """

    rows: Tensor
    units: Tensor
    counted: bool
    size: int
    like: Tensor

    def numbers(self, count: int) -> Tensor:
        """As `[1, R, units]`."""
        made = numbers((count, self.size), (self.rows, self.units), self.like.dtype, self.counted)
        return made.unsqueeze(0)


class Events:
    """A recording of spikes, or a batch of them: `network(events)` runs each to its own end.

    times: `[E]`, rising; whole numbers are steps, others ms; units: int64 `[E]`, 0 to size - 1;
    size: how many units there are; duration: of the recording, in the unit of times, None: up to
    the step of the last event; dt: the length of a step (ms): an event is in step floor(t / dt);
    several: what several events of one unit in one step are, "one" spike or their "count".

    in_ms: whether times were ms, so that dt counts;
    step, unit, sample: int64 `[E]`, which step, unit and sample every event is of; lengths: int64
    `[B]`, the steps of every sample; steps: T of the padded frame, the longest sample's at least.
    Raises UserError for times that do not rise, and times or units out of range.

    >>> events = Events([0.2, 0.4, 3.1], [1, 1, 0], size=2)
    >>> events.lengths.tolist(), events.dense().squeeze(1).tolist()
    ([4], [[0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    """

    in_ms = False

    def __init__(
        self,
        times: Any,
        units: Any,
        size: int,
        *,
        duration: float | None = None,
        dt: float = 1.0,
        several: Literal["one", "count"] = "one",
    ) -> None:
        check_positive(dt, "dt", unit="ms")
        check_choice(several, "several", ("one", "count"))
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise UserError(message("expected size >= 1, the number of units", repr(size)))
        at, of = vector(times, "times"), vector(units, "units")
        if len(at) != len(of):
            got = f"{len(at)} times and {len(of)} units"
            raise UserError(message("expected as many times as units", got))
        if of.is_floating_point():
            raise TypeError(message("expected units as whole numbers", str(of.dtype)))
        check_rising(at)
        check_range(of, 0, size, "units", f"0 to size - 1 = {size - 1}")
        self.step, self.unit = steps_at(at, dt), of.to(torch.int64)
        self.sample = torch.zeros_like(self.unit)
        self.lengths = torch.tensor([steps_of(self.step, at, duration, dt)], device="cpu")
        self.size, self.dt, self.several = size, float(dt), several
        self.in_ms = at.is_floating_point()
        self.steps = int(self.lengths.max())

    @classmethod
    def batch(cls, recordings: Sequence[Events]) -> Events:
        """Several recordings, or batches of them, as one batch.

        Raises UserError for none, and for recordings of other sizes, dt or `several`; TypeError for
        what is no recording.

        >>> one, two = Events([0], [0], size=3), Events([0, 4], [2, 2], size=3)
        >>> Events.batch([one, two]).lengths.tolist()
        [1, 5]
        """
        if not recordings:
            raise UserError(message("expected at least one recording", "none"))
        for each in recordings:
            if not isinstance(each, Events):
                raise TypeError(message("expected a list of Events", type(each).__name__))
        first = recordings[0]
        for name in ("size", "dt", "several"):
            found = {getattr(each, name) for each in recordings}
            if len(found) > 1:
                got = " and ".join(map(str, sorted(found)))
                raise UserError(message(f"expected recordings of the same {name}", got))
        made = cls.__new__(cls)
        made.size, made.dt, made.several = first.size, first.dt, first.several
        made.in_ms = any(each.in_ms for each in recordings)
        made.step = torch.cat([each.step for each in recordings])
        made.unit = torch.cat([each.unit for each in recordings])
        made.lengths = torch.cat([each.lengths for each in recordings])
        before = [0]
        for each in recordings:
            before.append(before[-1] + len(each.lengths))
        made.sample = torch.cat(
            [each.sample + n for each, n in zip(recordings, before, strict=False)]
        )
        made.steps = max(each.steps for each in recordings)
        return made

    @classmethod
    def collate(cls, samples: Sequence[tuple[Events, Any]]) -> tuple[Events, Tensor]:
        """Recordings with a label each as a batch: `DataLoader(data, collate_fn=Events.collate)`.

        Raises UserError as `batch`, TypeError for samples that are no such pairs.

        >>> recordings = [(Events([0], [0], size=3), 1), (Events([0, 4], [2, 2], size=3), 0)]
        >>> x, y = Events.collate(recordings)
        >>> x.lengths.tolist(), y.tolist()
        ([1, 5], [1, 0])
        """
        pairs = [s if isinstance(s, (tuple, list)) and len(s) == 2 else (s, None) for s in samples]
        for events, label in pairs:
            if not isinstance(events, Events) or label is None:
                got = type(events).__name__
                got += " without a label" if label is None else f" and {type(label).__name__}"
                raise TypeError(message("expected samples (Events, label)", got))
        labels = [torch.as_tensor(label) for _, label in pairs]
        return cls.batch([events for events, _ in pairs]), torch.stack(labels)

    def part(self, samples: slice) -> Events:
        """Some of the samples, in the order of the batch; T is that of the longest of them.

        Raises TypeError for what is no slice, UserError for one that goes backwards.

        >>> Events.batch([Events([0], [0], size=3), Events([4], [2], size=3)]).part(slice(1, 2))
        Events(1 of 3 units, lengths [5], dt 1 ms)
        """
        if not isinstance(samples, slice):
            expected = "expected a slice of samples"
            raise TypeError(message(expected, repr(samples), "for sample k slice(k, k + 1)"))
        chosen = range(*samples.indices(len(self.lengths)))
        if chosen.step < 1:
            raise UserError(message("expected samples in the order of the batch", str(samples)))
        place = torch.full((len(self.lengths),), -1, device="cpu")
        place[samples] = torch.arange(len(chosen), device="cpu")
        kept = place[self.sample] >= 0
        made = copy.copy(self)
        made.step, made.unit = self.step[kept], self.unit[kept]
        made.sample, made.lengths = place[self.sample[kept]], self.lengths[samples]
        made.steps = int(made.lengths.max()) if len(chosen) else 0
        return made

    def padded_to(self, steps: int) -> Events:
        """The same in a frame of more steps, or of just those of the longest sample."""
        longest = int(self.lengths.max()) if len(self.lengths) else 0
        if steps < longest:
            raise UserError(message(f"expected steps >= {longest}, the longest", str(steps)))
        made = copy.copy(self)
        made.steps = steps
        return made

    @classmethod
    def silent(cls, like: Events, lengths: Tensor) -> Events:
        """Samples without an event, otherwise as `like`."""
        made = copy.copy(like)
        made.step = made.unit = made.sample = torch.zeros(0, dtype=torch.int64, device="cpu")
        made.lengths, made.steps = lengths, int(lengths.max())
        return made

    @property
    def shape(self) -> torch.Size:
        """`[T, B, units]` of the padded frame that is not made."""
        return torch.Size((self.steps, len(self.lengths), self.size))

    def __len__(self) -> int:
        """How many events there are."""
        return len(self.step)

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The padded frame `[T, B, units]`."""
        at = (self.step, self.sample, self.unit)
        return numbers(self.shape, at, dtype, self.several == "count")

    def in_rows(self, packing: Packing, like: Tensor) -> EventRows:
        """In the rows of a packing of these lengths; like: a tensor of the wanted dtype."""
        rank = packing.rank.index_select(0, self.sample)
        rows = packing.starts.index_select(0, self.step).add_(rank).to(like.device)
        units = self.unit.to(like.device).contiguous()
        return EventRows(rows, units, self.several == "count", self.size, like)

    def __repr__(self) -> str:
        lengths = self.lengths.tolist()
        return f"Events({len(self)} of {self.size} units, lengths {lengths}, dt {self.dt:g} ms)"


def as_frame(network: nn.Module, x: Tensor | Events, lengths: Any = None) -> tuple[Tensor, Any]:
    """What a network is looked at on, number by number: x `[T, B, *features]` and its lengths.

    Of events the padded frame in the network's dtype and on its device; anything else as it is.
    """
    if not isinstance(x, Events):
        return x, lengths
    if lengths is not None:
        expected = "expected no lengths beside events, which have their own"
        raise UserError(message(expected, f"lengths={lengths}", "omit lengths"))
    own = (p for p in (*network.parameters(), *network.buffers()) if p.is_floating_point())
    like = next(own, torch.zeros(()))
    return x.dense(like.dtype).to(like.device), x.lengths


def numbers(
    shape: Sequence[int], at: tuple[Tensor, ...], dtype: torch.dtype, counted: bool
) -> Tensor:
    """Zeros with a one at every event, or how many there are, counted before they are rounded."""
    kind = torch.int32 if counted else dtype
    made = torch.zeros(tuple(shape), dtype=kind, device=at[0].device)
    made.index_put_(at, made.new_ones(()), accumulate=counted)
    return made.to(dtype)


def steps_at(times: Tensor, dt: float) -> Tensor:
    """The steps of events: times themselves, or those in ms cut into steps."""
    if not times.is_floating_point():
        check_few(int(times[-1]) + 1 if len(times) else 1, "times", times[-1:].tolist())
        return times
    exact = times.double() / dt
    exact = (exact + EDGE + 2 * torch.finfo(times.dtype).eps * exact).floor()
    check_few(float(exact[-1]) + 1 if len(exact) else 1, "times", times[-1:].tolist())
    return exact.to(torch.int64)


def check_few(steps: float, name: str, given: object) -> None:
    """As many steps as a recording can have; given: what asks for them."""
    if steps > MOST_STEPS:
        remedy = "times in ms are floats, whole numbers are steps; dt is in ms"
        raise UserError(message(f"expected {name} of less than 2^31 steps", str(given), remedy))


def vector(values: Any, name: str) -> Tensor:
    """Numbers `[E]`, on the CPU."""
    try:
        tensor = isinstance(values, Tensor)
        found = values.detach() if tensor else torch.as_tensor(np.asarray(values), device="cpu")
        found = found.cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(message(f"expected {name} as numbers [E]", f"{error}")) from None
    if found.dim() != 1:
        raise UserError(message(f"expected {name} [E]", str(list(found.shape))))
    if found.dtype == torch.bool or found.is_complex():
        raise TypeError(message(f"expected {name} as numbers [E]", str(found.dtype)))
    if not found.numel():
        return found.long()  # an empty list says nothing of its kind
    if found.is_floating_point():
        return found
    whole = found.to(torch.int64)  # torch compares no unsigned numbers
    if found.dtype == torch.uint64 and bool((whole < 0).any()):
        raise UserError(message(f"expected {name} below 2^63", "larger ones in uint64"))
    return whole


def check_rising(times: Tensor) -> None:
    """Finite times from 0 on, none before the one in front of it."""
    if times.is_floating_point() and not bool(torch.isfinite(times).all()):
        raise UserError(message("expected finite times", "NaN or infinity"))
    falls = (times[1:] < times[:-1]).nonzero().flatten()
    if len(falls):
        k = int(falls[0]) + 1
        got = f"{times[k].item():g} after {times[k - 1].item():g} (event {k})"
        remedy = "sort both: order = times.argsort(stable=True)"
        raise UserError(message("expected times that rise", got, remedy))
    if len(times) and float(times[0]) < 0:
        raise UserError(message("expected times from 0 on", f"{times[0].item():g} (event 0)"))


def check_range(values: Tensor, low: int, high: int, name: str, words: str) -> None:
    """Values from low to below high."""
    wrong = ((values < low) | (values >= high)).nonzero().flatten()
    if len(wrong):
        k = int(wrong[0])
        got = f"{values[k].item()} (event {k})"
        raise UserError(message(f"expected {name} from {words}", got))


def steps_of(step: Tensor, times: Tensor, duration: float | None, dt: float) -> int:
    """The steps of a recording."""
    least = int(step[-1]) + 1 if len(step) else 1
    if duration is None:
        return least
    check_positive(duration, "duration")
    in_ms = times.is_floating_point() or isinstance(duration, float)
    check_few(duration / dt if in_ms else duration, "a duration", duration)
    steps = math.ceil(duration / dt - EDGE) if in_ms else int(duration)
    if least > max(steps, 1):
        got = f"an event at {times[-1].item():g}, in step {least - 1} of {steps}"
        remedy = "leave out the events behind the end, or give a longer duration"
        expected = f"expected events before the duration of {duration:g}"
        raise UserError(message(expected, got, remedy))
    return max(steps, 1)
