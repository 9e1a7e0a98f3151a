"""Run folders to pictures and pages; this room knows numpy and matplotlib, and never torch."""

from spikegrad.report.confusion import confusion
from spikegrad.report.folder import write_pictures
from spikegrad.report.learning import learning
from spikegrad.report.membrane import membrane
from spikegrad.report.page import write_report
from spikegrad.report.raster import raster
from spikegrad.report.read import Curve, Layer, Run, Samples, read_run, read_samples
from spikegrad.report.slopes import slopes
from spikegrad.report.style import save
from spikegrad.report.surrogate import compare, surrogate

__all__ = [
    "Curve",
    "Layer",
    "Run",
    "Samples",
    "compare",
    "confusion",
    "learning",
    "membrane",
    "raster",
    "read_run",
    "read_samples",
    "save",
    "slopes",
    "surrogate",
    "write_pictures",
    "write_report",
]
