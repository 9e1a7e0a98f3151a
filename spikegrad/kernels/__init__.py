"""The specification's signatures behind a choice of backend.

`nn` calls these; each takes `backend=` and hands the call to the function that `dispatch` chose.
"""

from spikegrad.kernels.dispatch import (
    NEURONS,
    Choice,
    alif,
    available,
    choose,
    choose_step,
    conv2d,
    cuba_lif,
    integrate_and_fire,
    layer,
    li,
    lif,
    linear,
    max_pool2d,
    obstacle_to_layer,
    packed,
    recurrent,
    spiking,
    step,
    stilled,
)

__all__ = [
    "NEURONS",
    "Choice",
    "alif",
    "available",
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
    "obstacle_to_layer",
    "packed",
    "recurrent",
    "spiking",
    "step",
    "stilled",
]
