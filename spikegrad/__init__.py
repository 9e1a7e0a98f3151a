"""Surrogate-gradient learning in spiking neural networks.

>>> import torch, spikegrad as sg
>>> network = sg.Sequential(sg.Linear(700, 256), sg.LIF(20.0), sg.Linear(256, 20), sg.LI(20.0))
>>> y, states = network(torch.rand(10, 4, 700))     # [T, B, C] and the states
>>> y.shape
torch.Size([10, 4, 20])
"""

from spikegrad import functional, nn, surrogate
from spikegrad.errors import RunError, SpikegradWarning, UserError
from spikegrad.nn import (
    ALIF,
    CUBALIF,
    IF,
    LI,
    LIF,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    Recurrent,
    Sequential,
    Spiking,
    record,
)
from spikegrad.surrogate import Surrogate, spike
from spikegrad.types import cut, map_state
from spikegrad.version import __version__

__all__ = [
    "ALIF",
    "CUBALIF",
    "IF",
    "LI",
    "LIF",
    "AvgPool2d",
    "BatchNorm",
    "Conv2d",
    "Dropout",
    "Flatten",
    "Linear",
    "MaxPool2d",
    "Recurrent",
    "RunError",
    "Sequential",
    "SpikegradWarning",
    "Spiking",
    "Surrogate",
    "UserError",
    "__version__",
    "cut",
    "functional",
    "map_state",
    "nn",
    "record",
    "spike",
    "surrogate",
]
