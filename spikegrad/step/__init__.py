"""A neuron as one step, and the loop over time that runs it: the specification of such neurons."""

from spikegrad.step.definition import Step
from spikegrad.step.parameter import Parameter, TimeConstant

__all__ = ["Parameter", "Step", "TimeConstant"]
