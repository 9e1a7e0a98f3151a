"""Sequences of different length in one batch: how they lie in rows, and events."""

from spikegrad.ragged.events import EventRows, Events, as_frame
from spikegrad.ragged.lengths import as_lengths, check_lengths, mask_of
from spikegrad.ragged.packed import Packed, padded
from spikegrad.ragged.packing import Packing
from spikegrad.ragged.segments import by_segments, in_stretch
from spikegrad.ragged.states import packed_state, unpacked_state
from spikegrad.ragged.taking import with_lengths

__all__ = [
    "EventRows",
    "Events",
    "Packed",
    "Packing",
    "as_frame",
    "as_lengths",
    "by_segments",
    "check_lengths",
    "in_stretch",
    "mask_of",
    "packed_state",
    "padded",
    "unpacked_state",
    "with_lengths",
]
