"""Surrogates: records, families, the one autograd function, properties, schedules, converters.

Every file of `shapes/` defines one. Those that are imported by name below are known to editors and
type checkers; one that is not is found by its file all the same.
"""

from collections.abc import Callable

from spikegrad.errors import unknown
from spikegrad.surrogate.built_in import FACTORIES
from spikegrad.surrogate.contract import verify
from spikegrad.surrogate.convert import from_norse, from_snntorch, from_spikingjelly, from_spyx
from spikegrad.surrogate.properties import Properties
from spikegrad.surrogate.record import Surrogate
from spikegrad.surrogate.registry import get, names, register, unregister
from spikegrad.surrogate.schedule import Schedule, schedule
from spikegrad.surrogate.shapes.algebraic import algebraic
from spikegrad.surrogate.shapes.arctan import arctan
from spikegrad.surrogate.shapes.boxcar import boxcar
from spikegrad.surrogate.shapes.clipped_straight_through import clipped_straight_through
from spikegrad.surrogate.shapes.exponential import exponential
from spikegrad.surrogate.shapes.fast_sigmoid import fast_sigmoid
from spikegrad.surrogate.shapes.gaussian import gaussian
from spikegrad.surrogate.shapes.leaky import leaky
from spikegrad.surrogate.shapes.multi_gaussian import multi_gaussian
from spikegrad.surrogate.shapes.q_pseudospike import q_pseudospike
from spikegrad.surrogate.shapes.sigmoid import sigmoid
from spikegrad.surrogate.shapes.straight_through import straight_through
from spikegrad.surrogate.shapes.superspike import superspike
from spikegrad.surrogate.shapes.tanh import tanh
from spikegrad.surrogate.shapes.triangle import triangle
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


def __getattr__(name: str) -> Callable[..., Surrogate]:
    try:
        return FACTORIES[name]
    except KeyError:
        text = unknown(f"name of {__name__}", name, [*__all__, *FACTORIES])
        raise AttributeError(text) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *FACTORIES})
