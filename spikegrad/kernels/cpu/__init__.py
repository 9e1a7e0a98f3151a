"""Native CPU kernels: C++ on torch's stable ABI, built on first use and cached."""

from spikegrad.kernels.cpu.build import BuildError, build, cache_folder, library_path
from spikegrad.kernels.cpu.conv import conv2d
from spikegrad.kernels.cpu.crossover import Table, table
from spikegrad.kernels.cpu.delayed import delayed_linear
from spikegrad.kernels.cpu.installed import Installed, installed
from spikegrad.kernels.cpu.instructions import InstructionSet, in_force
from spikegrad.kernels.cpu.layer import delayed_recurrent, layer, recurrent
from spikegrad.kernels.cpu.library import isa, load, loaded
from spikegrad.kernels.cpu.linear import linear
from spikegrad.kernels.cpu.measure import measure
from spikegrad.kernels.cpu.pool2d import max_pool2d
from spikegrad.kernels.cpu.signals import side_by_side, unpacked
from spikegrad.kernels.cpu.spike_pool_operator import obstacle as obstacle_to_pool
from spikegrad.kernels.cpu.spike_pool_operator import spike_pool
from spikegrad.kernels.cpu.spikes import Spikes, packed, packed_events, packed_rows, stilled
from spikegrad.kernels.cpu.step import step
from spikegrad.kernels.cpu.step_report import made_of_step
from spikegrad.kernels.cpu.stream import MOST, Stream

__all__ = [
    "MOST",
    "BuildError",
    "Installed",
    "InstructionSet",
    "Spikes",
    "Stream",
    "Table",
    "build",
    "cache_folder",
    "conv2d",
    "delayed_linear",
    "delayed_recurrent",
    "in_force",
    "installed",
    "isa",
    "layer",
    "library_path",
    "linear",
    "load",
    "loaded",
    "made_of_step",
    "max_pool2d",
    "measure",
    "obstacle_to_pool",
    "packed",
    "packed_events",
    "packed_rows",
    "recurrent",
    "side_by_side",
    "spike_pool",
    "step",
    "stilled",
    "table",
    "unpacked",
]
