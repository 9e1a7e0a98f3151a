"""Where the library of a step is, in words: nothing is compiled for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikegrad.kernels.cpu.build import BuildError, cache_folder
from spikegrad.kernels.cpu.compiler import library_suffix
from spikegrad.kernels.cpu.instructions import in_force
from spikegrad.kernels.cpu.library import load
from spikegrad.kernels.cpu.step_library import digest
from spikegrad.kernels.emit import scan
from spikegrad.kernels.step_report import graph_of_call
from spikegrad.step import Step
from spikegrad.types import Value

__all__ = ["made_of_step"]


def made_of_step(definition: Step, args: Mapping[str, Any], values: Mapping[str, Value]) -> str:
    """The library of a call in float32, or that it is not there yet, or why there is none.

    Raises NotLowered where the step has no native form.
    """
    if why := load():
        return f"none: {why}"
    graph, plan, each = graph_of_call(definition, args, values)
    text, chosen = scan(definition.name, graph, plan, each=each, double=False).text, in_force()
    try:
        path = cache_folder() / "steps" / f"{digest(text, chosen)}{library_suffix()}"
    except BuildError as error:
        return f"none: {error}"
    if path.exists():
        return f"C++ for {chosen.name}, compiled: {path}"
    return f"C++ for {chosen.name}, compiled at the first call"
