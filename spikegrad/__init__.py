"""Surrogate-gradient learning in spiking neural networks.

>>> import torch, spikegrad as sg
>>> network = sg.Sequential(sg.Linear(700, 256), sg.LIF(20.0), sg.Linear(256, 20), sg.LI(20.0))
>>> y, states = network(torch.rand(10, 4, 700))     # [T, B, C] and the states
>>> y.shape
torch.Size([10, 4, 20])

A name is imported when it is first used, so that `spikegrad --help` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spikegrad.errors import RunError, SpikegradWarning, UserError
from spikegrad.version import __version__

if TYPE_CHECKING:
    from spikegrad import (
        analysis,
        compare,
        data,
        diagnose,
        functional,
        neurons,
        nn,
        surrogate,
        train,
        verify,
    )
    from spikegrad.diagnose import check
    from spikegrad.nn import (
        ALIF,
        CUBALIF,
        IF,
        LI,
        LIF,
        AvgPool2d,
        BatchNorm,
        Branch,
        Conv2d,
        DelayedLinear,
        Dropout,
        Flatten,
        Linear,
        Loop,
        MaxPool2d,
        Module,
        Population,
        Recurrent,
        Residual,
        Sequential,
        Spiking,
        neuron,
        record,
        stream,
    )
    from spikegrad.ragged import Events
    from spikegrad.step import Parameter, TimeConstant
    from spikegrad.surrogate import Surrogate, spike
    from spikegrad.train import evaluate, fit, load, predict
    from spikegrad.types import cut, map_state

__all__ = [
    "ALIF",
    "CUBALIF",
    "IF",
    "LI",
    "LIF",
    "AvgPool2d",
    "BatchNorm",
    "Branch",
    "Conv2d",
    "DelayedLinear",
    "Dropout",
    "Events",
    "Flatten",
    "Linear",
    "Loop",
    "MaxPool2d",
    "Module",
    "Parameter",
    "Population",
    "Recurrent",
    "Residual",
    "RunError",
    "Sequential",
    "SpikegradWarning",
    "Spiking",
    "Surrogate",
    "TimeConstant",
    "UserError",
    "__version__",
    "analysis",
    "check",
    "compare",
    "cut",
    "data",
    "diagnose",
    "evaluate",
    "fit",
    "functional",
    "load",
    "map_state",
    "neuron",
    "neurons",
    "nn",
    "predict",
    "record",
    "spike",
    "stream",
    "surrogate",
    "train",
    "verify",
]

_ROOMS = (
    "analysis",
    "compare",
    "data",
    "diagnose",
    "functional",
    "kernels",
    "neurons",
    "nn",
    "ragged",
    "report",
    "step",
    "surrogate",
    "train",
    "types",
    "verify",
)
_HOMES = {
    "diagnose": "check",
    "nn": (
        "ALIF CUBALIF IF LI LIF AvgPool2d BatchNorm Branch Conv2d DelayedLinear Dropout Flatten "
        "Linear Loop MaxPool2d Module Population Recurrent Residual Sequential Spiking neuron "
        "record stream"
    ),
    "surrogate": "Surrogate spike",
    "train": "evaluate fit load predict",
    "ragged": "Events",
    "step": "Parameter TimeConstant",
    "types": "cut map_state",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    # The library of neurons names its models itself. Only a capital may be one: a submodule that
    # is imported for the first time is asked for here, too.
    if name not in _HOME_OF and not name[:1].isupper():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF.get(name, 'neurons')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *import_module(f"{__name__}.neurons").models()})
