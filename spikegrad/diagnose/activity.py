"""Checks of spiking layers: do they fire, do they still say something, does gradient pass them?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose.finding import Finding
from spikegrad.diagnose.flow import slopes_seen
from spikegrad.diagnose.probe import Probe, shown, spiking

__all__ = ["Activity", "activities", "check_activity", "reach"]

SATURATED = 0.9
"""A rate above this leaves little to say."""
SPARSE = 0.001
"""Below this rate most of a sequence of 100 steps is silence."""
UNUSED = 0.9
"""A share of never-firing neurons above this wastes the layer."""
PASSING = 0.01
"""Below this share of neurons with a derivative almost no gradient passes."""
CALIBRATE = "use --calibrate 0.05"


@dataclass(frozen=True)
class Activity:
    """What the checks know of a spiking layer.

    name: of the module; rate: spikes per neuron and step; reach: the highest membrane, from rest,
    in units of the threshold; never: share of neurons without a spike in the batch; passing: share
    of derivatives above 1 % of the peak; blocked: whether every derivative is exactly 0; nearest:
    the least |u - theta|; support: half-width of the surrogate; hard: whether spikes are steps.
    """

    name: str
    rate: float
    reach: float
    never: float
    passing: float
    blocked: bool
    nearest: float
    support: float
    hard: bool

    @property
    def silent(self) -> bool:
        """Whether nothing ever fired."""
        return self.hard and self.rate == 0.0


def activities(network: nn.Module, seen: Probe) -> list[Activity]:
    """The activity of every spiking layer that ran, in order."""
    with torch.no_grad():
        return [activity(shown(name, m), m, tape) for name, m, tape in spiking(network, seen.tapes)]


def activity(name: str, module: Any, tape: Any) -> Activity:
    """Measure one layer."""
    spikes = tape.activity
    derivative, peak = slopes_seen(module, tape)
    slope = module.surrogate.slope if module.slope is None else float(module.slope().min())
    return Activity(
        name=name,
        rate=float(spikes.float().mean()),
        reach=reach(module, tape),
        never=float((spikes.flatten(0, 1) == 0).all(0).float().mean()),
        passing=float((derivative / peak > 0.01).float().mean()),
        blocked=not bool(derivative.any()),
        nearest=float(tape.distance.abs().min()),
        support=module.surrogate.support * module.surrogate.slope / slope,
        hard=module.surrogate.mode == "hard",
    )


def reach(module: Any, tape: Any) -> float:
    """The highest membrane as a share of the way from rest to the threshold in force."""
    membrane: Tensor = tape.membrane.detach()
    rest = module.resting_potential()
    theta = membrane - tape.distance.detach()
    return float(((membrane - rest) / (theta - rest)).max())


def check_activity(layers: list[Activity]) -> Iterator[Finding]:
    """Every finding about the layers' activity."""
    for layer in layers:
        if layer.hard:
            yield from firing(layer)
        yield from passing(layer)


def firing(layer: Activity) -> Iterator[Finding]:
    """Too little or too much of it; a step forward only."""
    name, rate = layer.name, layer.rate
    if rate == 0.0:
        problem = f"never fires: membrane reaches {layer.reach:.2f} of threshold"
        yield Finding(name, "error", problem, layer.reach, CALIBRATE)
    elif rate == 1.0:
        problem = "is saturated: every neuron fires at every step"
        yield Finding(name, "error", problem, rate, CALIBRATE)
    elif rate > SATURATED:
        problem = f"is nearly saturated: {rate:.2f} spikes per neuron and step"
        yield Finding(name, "warning", problem, rate, CALIBRATE)
    elif rate < SPARSE:
        problem = f"hardly fires: {rate:.1g} spikes per neuron and step"
        yield Finding(name, "warning", problem, rate, CALIBRATE)
    elif layer.never > UNUSED:
        problem = f"has {100 * layer.never:.0f} % neurons that never fire in this batch"
        advice = CALIBRATE + ", or a penalty on low rates (--rate-lower, --rate-weight)"
        yield Finding(name, "warning", problem, layer.never, advice)


def passing(layer: Activity) -> Iterator[Finding]:
    """Whether the surrogate lets gradient through where the membranes are."""
    if layer.blocked:
        problem = (
            f"passes no gradient: the surrogate derivative is 0 at every membrane (the nearest is "
            f"{layer.nearest:.2g} from threshold, the support {layer.support:.2g})"
        )
        advice = f"{CALIBRATE}, or a wider surrogate (--slope lower, or --surrogate arctan)"
        yield Finding(layer.name, "error", problem, 0.0, advice)
    elif layer.passing < PASSING:
        problem = (
            f"passes little gradient: {100 * layer.passing:.1g} % of membranes are where the "
            f"surrogate derivative exceeds 1 % of its peak"
        )
        advice = f"{CALIBRATE}, or a wider surrogate (--slope lower)"
        yield Finding(layer.name, "warning", problem, layer.passing, advice)
