"""The library of neurons: one file a model, each written as one step with `spikegrad.neuron`.

A new model is a new file in this folder and nothing else: a public `StepNeuron` class that the file
defines is found by its name, here and as `spikegrad.NAME`.

>>> import spikegrad as sg
>>> sg.neurons.models()["AdEx"] is sg.AdEx
True
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from spikegrad.errors import UserError, message, unknown
from spikegrad.nn import StepNeuron

__all__ = ["models"]


@cache
def _found() -> dict[str, type[StepNeuron]]:
    """The models of every file in this folder, sorted by name."""
    found: dict[str, type[StepNeuron]] = {}
    for file in iter_modules(__path__):
        module = import_module(f"{__name__}.{file.name}")
        for name, kind in vars(module).items():
            here = isinstance(kind, type) and kind.__module__ == module.__name__
            if name.startswith("_") or not here or not issubclass(kind, StepNeuron):
                continue
            if name in found:
                raise UserError(
                    message(
                        "expected every neuron of spikegrad/neurons under its own name",
                        f"{name} in {found[name].__module__} and in {module.__name__}",
                        "rename one of them",
                    )
                )
            found[name] = kind
    return dict(sorted(found.items()))


def models() -> dict[str, type[StepNeuron]]:
    """The layer class of every model by its name.

    Raises UserError when two files define the same name.
    """
    return dict(_found())


def __getattr__(name: str) -> Any:
    # Files have lowercase names: without this rule, importing one would ask for all of them.
    if not name[:1].isupper():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return _found()[name]
    except KeyError:
        raise AttributeError(unknown("neuron", name, _found())) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *_found()})
