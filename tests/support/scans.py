"""The neuron scans of `spikegrad.functional` in one native call each; the same arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from spikegrad.functional.steps import as_step
from spikegrad.kernels import cpu
from spikegrad.types import State


def run(scan: str, x: Tensor, state: State = None, **args: Any) -> Any:
    """The kernel that is generated from a scan's step."""
    definition, values = as_step(scan, args)
    return cpu.step(definition, x, state, **values)


lif = partial(run, "lif")
alif = partial(run, "alif")
li = partial(run, "li")
SCANS: dict[str, Callable[..., Any]] = {
    name: partial(run, name) for name in ("integrate_and_fire", "lif", "cuba_lif", "alif", "li")
}
