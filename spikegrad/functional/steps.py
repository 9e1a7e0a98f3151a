"""The built-in neurons by the names of their scans: a step each, and what it is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from spikegrad.functional.adaptive import ALIF, alif_values
from spikegrad.functional.cuba import CUBA, cuba_values
from spikegrad.functional.lif import LIF, lif_values
from spikegrad.functional.readout import LI, li_values
from spikegrad.step import Step

__all__ = ["STEPS", "as_step"]

STEPS: dict[str, tuple[Step, Callable[..., dict[str, Any]]]] = {
    "integrate_and_fire": (LIF, partial(lif_values, beta=1.0)),
    "lif": (LIF, lif_values),
    "cuba_lif": (CUBA, cuba_values),
    "alif": (ALIF, alif_values),
    "li": (LI, li_values),
}


def as_step(scan: str, args: Mapping[str, Any]) -> tuple[Step, dict[str, Any]]:
    """The step of a scan, and its keyword arguments for those of the scan.

    >>> step, values = as_step("lif", {"beta": 0.5, "threshold": 2.0})
    >>> step.name, values["drop"]
    ('lif', 2.0)
    """
    step, values = STEPS[scan]
    return step, values(**args)
