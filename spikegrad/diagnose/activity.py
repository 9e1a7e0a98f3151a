"""Checks of spiking layers: do they fire, do they still say something, does gradient pass them?"""

from __future__ import annotations

from collections.abc import Iterator

from spikegrad.diagnose.finding import Finding, Severity
from spikegrad.diagnose.layer import LayerHealth
from spikegrad.diagnose.text import share

__all__ = ["check_activity", "is_narrow"]

SATURATED = 0.9
"""A rate above this leaves little to say."""
SPARSE = 0.001
"""Below this rate most of a sequence of 100 steps is silence."""
UNUSED = 0.9
"""A share of never-firing neurons above this wastes the layer; so do always-firing ones."""
PASSING = 0.01
"""Below this share of neurons with a derivative almost no gradient passes."""
FEW = 8
"""In fewer samples many neurons have nothing to do."""
CALIBRATE = "use --calibrate 0.05 (in Python sg.nn.calibrate(network, x))"
INITIALISE = "draw its weights anew (--init kaiming)"


def check_activity(layers: list[LayerHealth], samples: int) -> Iterator[Finding]:
    """Every finding about the layers' activity."""
    for index, layer in enumerate(layers):
        if layer.dead:
            yield silence(layer, [before for before in layers[:index] if before.dead])
        elif layer.hard:
            yield from firing(layer, samples)
        yield from passing(layer)


def silence(layer: LayerHealth, before: list[LayerHealth]) -> Finding:
    """A layer that never fires; before: those that do not either, which may be why."""
    problem = f"never fires: membrane reaches {layer.reach:.2f} of threshold"
    advice = CALIBRATE
    if before:
        advice = f"layer {before[0].name} never fires: repair that first"
    elif layer.reach <= 0.0:
        advice = f"{INITIALISE}: nothing raises its membranes, so no scale of the weights helps"
    return Finding("silent", layer.name, "error", problem, layer.reach, advice)


def firing(layer: LayerHealth, samples: int) -> Iterator[Finding]:
    """Too little or too much of it; a step forward only."""
    name, rate = layer.name, layer.rate
    if layer.always == 1.0:
        problem = "is saturated: every neuron fires at every step"
        yield Finding("saturated", name, "error", problem, rate, CALIBRATE)
    elif rate > SATURATED:
        problem = f"is nearly saturated: {rate:.2f} spikes per neuron and step"
        yield Finding("nearly-saturated", name, "warning", problem, rate, CALIBRATE)
    elif rate < SPARSE:
        problem = f"hardly fires: {rate:.1g} spikes per neuron and step"
        yield Finding("sparse", name, "warning", problem, rate, CALIBRATE)
    elif layer.silent > UNUSED and samples >= FEW:
        problem = f"has {100 * layer.silent:.0f} % neurons that never fire in this batch"
        advice = CALIBRATE + ", or a penalty on low rates (--rate-lower, --rate-weight)"
        yield Finding("unused", name, "warning", problem, layer.silent, advice)
    elif layer.silent + layer.always > UNUSED and samples >= FEW:
        problem = (
            f"has {share(layer.always)} neurons that fire at every step and "
            f"{share(layer.silent)} that never do"
        )
        measure = layer.silent + layer.always
        yield Finding("stuck", name, "warning", problem, measure, CALIBRATE)


def passing(layer: LayerHealth) -> Iterator[Finding]:
    """Whether the surrogate lets gradient through where the membranes are."""
    if layer.blocked:
        problem = (
            f"passes no gradient: the surrogate derivative is 0 at every membrane (the nearest is "
            f"{layer.nearest:.2g} from threshold, the support {layer.support:.2g})"
        )
        advice = f"{CALIBRATE}, or a wider surrogate (--slope lower, or --surrogate arctan)"
        yield Finding("blocked", layer.name, "error", problem, 0.0, advice)
    elif is_narrow(layer):
        assert layer.passing is not None
        problem = (
            f"passes little gradient: {100 * layer.passing:.1g} % of membranes are where the "
            f"surrogate derivative exceeds 1 % of its peak"
        )
        advice = f"{CALIBRATE}, or a wider surrogate (--slope lower)"
        severity: Severity = "error" if layer.total == 0.0 else "warning"
        yield Finding("narrow", layer.name, severity, problem, layer.passing, advice)


def is_narrow(layer: LayerHealth) -> bool:
    """Whether the surrogate has a derivative at almost no membrane."""
    return layer.passing is not None and layer.passing < PASSING
