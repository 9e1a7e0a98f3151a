"""A network whose neurons spike by chance, each at a noise that is given, unit by unit.

A unit is one neuron at one step of one sample. With the surrogate's derivative g of area A it
spikes where its noise is below `F(u - theta)`, F the primitive of `g/A`: the escape noise that
matches the surrogate. Noise of -1 forces a spike, of 2 silence, whatever the membrane.
Source: Gygax & Zenke (2025), Neural Computation 37(5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose.probe import shown
from spikegrad.errors import UserError, message
from spikegrad.functional.steps import STEPS
from spikegrad.nn.base import Neuron
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.spiking import Spiking
from spikegrad.nn.tape import taped, unrecorded
from spikegrad.step import Step
from spikegrad.step.modes import by_chance
from spikegrad.surrogate import Surrogate, spike
from spikegrad.types import Trace

__all__ = ["FIRES", "SILENT", "Matched", "Through", "check_matched", "escaping", "freeze"]

FIRES, SILENT = -1.0, 2.0


class Through:
    """Whether gradients take the way through spikes. It is read while they are computed, so that
    one forward pass serves for both.
    """

    def __init__(self) -> None:
        self.open = True

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Gradients that are computed meanwhile take no way through spikes."""
        self.open = False
        try:
            yield
        finally:
            self.open = True


@dataclass(frozen=True, repr=False)
class Matched(Surrogate):
    """A surrogate with the chance of a spike as its primitive.

    through: whether it has a derivative.
    """

    through: Through = field(default_factory=Through)

    @property
    def area(self) -> float:
        """The primitive goes from 0 to 1."""
        return 1.0

    def derivative(self, x: Tensor, slope: Tensor | None = None) -> Tensor:
        """That of the surrogate itself, or 0."""
        return super().derivative(x, slope) if self.through.open else torch.zeros_like(x)

    def slope_derivative(self, x: Tensor, slope: Tensor) -> Tensor:
        """That of the surrogate itself, or 0."""
        return super().slope_derivative(x, slope) if self.through.open else torch.zeros_like(x)

    def primitive(self, x: Tensor, slope: Tensor | None = None) -> Tensor:
        """The chance of a spike."""
        return super().primitive(x, slope) / super().area


def matched(surrogate: Surrogate, through: Through) -> Matched:
    """The surrogate with its noise."""
    own = {f.name: getattr(surrogate, f.name) for f in fields(Surrogate)}
    return Matched(**own, through=through)


def check_matched(network: nn.Module, names: Mapping[str, Any]) -> None:
    """Refuse networks for which no matched escape noise is known.

    names: the spiking layers that ran. Raises UserError with the first reason.
    """
    strangers = unrecorded(network)
    if strangers:
        raise unmatched(strangers[0], "has a state that cannot be recorded")
    for name, module in names.items():
        layer, surrogate = shown(name, module), module.surrogate
        if surrogate.mode == "soft":
            raise unmatched(layer, "is in soft mode, in which gradients are exact")
        if getattr(module, "spike", "binary") not in ("binary", "escape"):
            raise unmatched(layer, f"has spike={module.spike!r}")
        if not (surrogate.has_primitive and 0.0 < surrogate.area < math.inf):
            raise unmatched(
                layer, f"has the surrogate {surrogate}, which is no probability density"
            )
        if isinstance(module, Neuron) and (
            type(module).bound is not Neuron.bound or step_of(module) is None
        ):
            raise unmatched(layer, "has a scan of its own")
        if not isinstance(module, Neuron | Spiking):
            raise unmatched(layer, "is no neuron of this package")
    for name, module in network.named_modules():
        if getattr(module, "track_running_stats", True) is False:
            raise unmatched(name, "takes its moments from the batch, which couples samples")


def unmatched(layer: str, why: str) -> UserError:
    """The error for a network without matched noise."""
    expected = "expected a network for which matched escape noise is known"
    remedy = "the truth of its gradient is not measured"
    return UserError(message(expected, f"layer {layer}, which {why}", remedy))


def step_of(layer: Neuron) -> Step | None:
    """The step of a layer; None for one that has a scan alone that nobody knows."""
    definition = layer.definition()
    if definition is not None:
        return definition.plain
    return STEPS[layer.scan][0] if getattr(layer, "scan", None) in STEPS else None


@contextmanager
def escaping(layers: Mapping[str, Any], noise: Mapping[str, Tensor]) -> Iterator[Through]:
    """Let layers spike by their noise while the context is open.

    layers: modules by name; noise: `[T, B, *features]` of each, read step after step, so that one
    context is one pass. Yields what closes the way of its gradients through spikes.
    """
    through = Through()
    try:
        for name, layer in layers.items():
            source = Steps(noise[name])
            if isinstance(layer, Spiking):
                layer.forward = memoryless(layer, source, through)  # type: ignore[method-assign]
            else:
                layer.bound = bound(layer, source, through)
        yield through
    finally:
        for layer in layers.values():
            for name in ("bound", "forward"):
                vars(layer).pop(name, None)


class Steps:
    """Noise `[T, B, *features]`, taken from the front."""

    def __init__(self, noise: Tensor) -> None:
        self.noise, self.at = noise, 0

    def take(self, steps: int) -> Tensor:
        """The noise of the next steps."""
        self.at += steps
        return self.noise[self.at - steps : self.at]


def bound(layer: Any, source: Steps, through: Through) -> Callable[[], Callable[..., Any]]:
    """What `layer.bound` is in the meantime: its own step with escape noise, in torch."""

    def stepping() -> Callable[..., Any]:
        definition = step_of(layer)
        assert definition is not None
        noisy = definition.variant(spike="escape", output=layer.output)
        arguments = dict(layer.step_arguments())
        arguments.pop("generator", None)
        arguments["surrogate"] = matched(layer.surrogate, through)

        def run(x: Tensor, state: Any = None, **how: Any) -> Any:
            return noisy(x, state, noise=source.take(len(x)), **arguments, **how)

        return run

    return stepping


def memoryless(layer: Spiking, source: Steps, through: Through) -> Callable[[Tensor], Any]:
    """What `layer.forward` is in the meantime."""

    def run(x: Tensor, *, trace: bool = False) -> Any:
        slope = None if layer.slope is None else layer.slope()
        record = matched(layer.surrogate, through)
        distance = x - layer.threshold()
        chance = record.primitive(distance.detach(), None if slope is None else slope.detach())
        s = by_chance(lambda d: spike(d, record, slope), chance, distance, source.take(len(x))).s
        return (s, Trace(x, x, distance, s)) if trace else s

    return lambda x: taped(run, layer.tape, x)


def freeze(network: nn.Module, x: Tensor) -> None:
    """Put a network into evaluation mode, for good, norms that train with the moments of x."""
    kinds = (BatchNorm, nn.modules.batchnorm._BatchNorm)
    norms = [m for m in network.modules() if isinstance(m, kinds) and m.training]
    network.eval()
    if not norms:
        return
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.training, norm.momentum = True, 1.0
    with torch.no_grad():
        network(x)
    for norm, momentum in zip(norms, before, strict=True):
        norm.training, norm.momentum = False, momentum
