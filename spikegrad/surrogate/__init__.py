"""Surrogates: records, families, the one autograd function, properties, schedules, converters."""

from spikegrad.surrogate.contract import verify
from spikegrad.surrogate.convert import from_norse, from_snntorch, from_spikingjelly, from_spyx
from spikegrad.surrogate.factories import (
    algebraic,
    arctan,
    boxcar,
    clipped_straight_through,
    exponential,
    fast_sigmoid,
    gaussian,
    leaky,
    multi_gaussian,
    q_pseudospike,
    sigmoid,
    straight_through,
    superspike,
    tanh,
    triangle,
)
from spikegrad.surrogate.properties import Properties
from spikegrad.surrogate.record import Surrogate
from spikegrad.surrogate.registry import get, names, register, unregister
from spikegrad.surrogate.schedule import Schedule, schedule
from spikegrad.surrogate.spike import spike

__all__ = [
    "Properties",
    "Schedule",
    "Surrogate",
    "algebraic",
    "arctan",
    "boxcar",
    "clipped_straight_through",
    "exponential",
    "fast_sigmoid",
    "from_norse",
    "from_snntorch",
    "from_spikingjelly",
    "from_spyx",
    "gaussian",
    "get",
    "leaky",
    "multi_gaussian",
    "names",
    "q_pseudospike",
    "register",
    "schedule",
    "sigmoid",
    "spike",
    "straight_through",
    "superspike",
    "tanh",
    "triangle",
    "unregister",
    "verify",
]
