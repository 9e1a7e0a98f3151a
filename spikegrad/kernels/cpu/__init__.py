"""Native CPU kernels: C++ on torch's stable ABI, built on first use and cached."""

from collections.abc import Callable
from typing import Any

from spikegrad.kernels.cpu.build import BuildError, build, cache_folder, library_path
from spikegrad.kernels.cpu.conv import conv2d
from spikegrad.kernels.cpu.crossover import Table, table
from spikegrad.kernels.cpu.installed import Installed, installed
from spikegrad.kernels.cpu.instructions import InstructionSet, in_force
from spikegrad.kernels.cpu.layer import layer, recurrent
from spikegrad.kernels.cpu.library import isa, load, loaded
from spikegrad.kernels.cpu.linear import linear
from spikegrad.kernels.cpu.measure import measure
from spikegrad.kernels.cpu.pool2d import max_pool2d
from spikegrad.kernels.cpu.scan import alif, cuba_lif, integrate_and_fire, li, lif
from spikegrad.kernels.cpu.spike_pool_operator import obstacle as obstacle_to_pool
from spikegrad.kernels.cpu.spike_pool_operator import spike_pool
from spikegrad.kernels.cpu.spikes import Spikes, packed, stilled
from spikegrad.kernels.cpu.step import step
from spikegrad.kernels.cpu.step_report import StepReport, report_of_step

TABLE: dict[str, Callable[..., Any]] = {
    "integrate_and_fire": integrate_and_fire,
    "lif": lif,
    "cuba_lif": cuba_lif,
    "alif": alif,
    "li": li,
    "linear": linear,
    "recurrent": recurrent,
    "layer": layer,
    "conv2d": conv2d,
    "max_pool2d": max_pool2d,
}
"""The functions that have a native version."""

__all__ = [
    "TABLE",
    "BuildError",
    "Installed",
    "InstructionSet",
    "Spikes",
    "StepReport",
    "Table",
    "alif",
    "build",
    "cache_folder",
    "conv2d",
    "cuba_lif",
    "in_force",
    "installed",
    "integrate_and_fire",
    "isa",
    "layer",
    "li",
    "library_path",
    "lif",
    "linear",
    "load",
    "loaded",
    "max_pool2d",
    "measure",
    "obstacle_to_pool",
    "packed",
    "recurrent",
    "report_of_step",
    "spike_pool",
    "step",
    "stilled",
    "table",
]
