"""Programs from the graph of a step: C++ for the CPU."""

from spikegrad.kernels.emit.cpp import Program, cpp

__all__ = ["Program", "cpp"]
