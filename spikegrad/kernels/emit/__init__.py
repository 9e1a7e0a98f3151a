"""Programs from the graph of a step: C++ for the CPU, Triton for GPUs."""

from spikegrad.kernels.emit.program import Program
from spikegrad.kernels.emit.rows import rows
from spikegrad.kernels.emit.scan import scan
from spikegrad.kernels.emit.triton import triton

__all__ = ["Program", "rows", "scan", "triton"]
