"""Data sets, generators, augmentation and batches; this room knows nothing of networks."""

from __future__ import annotations

from spikegrad.data.arrays import load_npz
from spikegrad.data.augment import Augment
from spikegrad.data.batches import Batches
from spikegrad.data.catalogue import Entry, catalogue, load, names
from spikegrad.data.dataset import Dataset, Split, split_validation
from spikegrad.data.digits import load_digits
from spikegrad.data.normalise import standardise, statistics
from spikegrad.data.randman import make_randman
from spikegrad.data.yin_yang import make_yin_yang

__all__ = [
    "Augment",
    "Batches",
    "Dataset",
    "Entry",
    "Split",
    "catalogue",
    "load",
    "load_digits",
    "load_npz",
    "make_randman",
    "make_yin_yang",
    "names",
    "split_validation",
    "standardise",
    "statistics",
]
