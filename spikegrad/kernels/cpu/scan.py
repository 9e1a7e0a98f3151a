"""The neuron scans of the specification, in one native call each; same signatures."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.functional.steps import as_step
from spikegrad.kernels.cpu.step import step
from spikegrad.types import State

__all__ = ["alif", "cuba_lif", "integrate_and_fire", "li", "lif"]


def lif(x: Tensor, state: State = None, **args: Any) -> tuple[Tensor, State]:
    """`functional.lif` in one call."""
    return run("lif", x, state, args)


def integrate_and_fire(x: Tensor, state: State = None, **args: Any) -> tuple[Tensor, State]:
    """`functional.integrate_and_fire` in one call."""
    return run("integrate_and_fire", x, state, args)


def cuba_lif(x: Tensor, state: State = None, **args: Any) -> tuple[Tensor, State]:
    """`functional.cuba_lif` in one call."""
    return run("cuba_lif", x, state, args)


def alif(x: Tensor, state: State = None, **args: Any) -> tuple[Tensor, State]:
    """`functional.alif` in one call."""
    return run("alif", x, state, args)


def li(x: Tensor, state: State = None, **args: Any) -> tuple[Tensor, State]:
    """`functional.li` in one call."""
    return run("li", x, state, args)


def run(scan: str, x: Tensor, state: State, args: dict[str, Any]) -> tuple[Tensor, State]:
    """The kernel that is generated from the scan's step."""
    definition, values = as_step(scan, args)
    return step(definition, x, state, **values)
