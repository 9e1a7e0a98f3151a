"""Measures of spike trains `[T, B, *features]`, in plain PyTorch; times in ms, rates in Hz.

Every measure gives a tensor, one number for each train unless it says otherwise.
"""

from spikegrad.analysis.counts import counts
from spikegrad.analysis.fano import fano
from spikegrad.analysis.filtered import filtered
from spikegrad.analysis.first_spike import first_spike_time
from spikegrad.analysis.intervals import cv, cv2, intervals, local_variation
from spikegrad.analysis.psth import psth
from spikegrad.analysis.rate import rate
from spikegrad.analysis.synchrony import chi, correlation, mean_correlation
from spikegrad.analysis.van_rossum import van_rossum_distance, van_rossum_squared
from spikegrad.analysis.victor_purpura import victor_purpura_distance

__all__ = [
    "chi",
    "correlation",
    "counts",
    "cv",
    "cv2",
    "fano",
    "filtered",
    "first_spike_time",
    "intervals",
    "local_variation",
    "mean_correlation",
    "psth",
    "rate",
    "van_rossum_distance",
    "van_rossum_squared",
    "victor_purpura_distance",
]
