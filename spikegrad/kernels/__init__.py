"""The specification's signatures behind a choice of backend.

`nn` calls these; each takes `backend=` and hands the call to the function that `dispatch` chose.
"""

from spikegrad.kernels.blocks import (
    layer,
    normed,
    obstacle_to_layer,
    obstacle_to_pool,
    packed,
    spike_pool,
    stilled,
)
from spikegrad.kernels.cpu import BuildError, StepReport, report_of_step
from spikegrad.kernels.dispatch import (
    NEURONS,
    Choice,
    alif,
    available,
    choice_of,
    choose,
    choose_step,
    conv2d,
    cuba_lif,
    integrate_and_fire,
    li,
    lif,
    linear,
    max_pool2d,
    recurrent,
    spiking,
    step,
)
from spikegrad.kernels.triton import moments

__all__ = [
    "NEURONS",
    "BuildError",
    "Choice",
    "StepReport",
    "alif",
    "available",
    "choice_of",
    "choose",
    "choose_step",
    "conv2d",
    "cuba_lif",
    "integrate_and_fire",
    "layer",
    "li",
    "lif",
    "linear",
    "max_pool2d",
    "moments",
    "normed",
    "obstacle_to_layer",
    "obstacle_to_pool",
    "packed",
    "recurrent",
    "report_of_step",
    "spike_pool",
    "spiking",
    "step",
    "stilled",
]
