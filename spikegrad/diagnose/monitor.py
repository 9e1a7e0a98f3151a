"""A network in training: does a layer die, saturate, or its gradient explode, and is there hope?

What is looked at costs next to nothing: how often each neuron fired in a batch, and the norms of
gradients and weights. A layer counts as dead or saturated after three looks in a row; a gradient as
exploding where it is a thousand times its median so far and larger than the weights it belongs to.
A run is hopeless where a layer has been dead or saturated, or every gradient exactly 0, for ten
looks, and the loss did not fall in them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from spikegrad.diagnose.finding import Finding

__all__ = ["Fired", "Look", "Monitor", "Norms", "fired"]

PATIENCE = 3
"""Looks in a row before a layer counts as dead or saturated."""
ENOUGH = 10
"""Looks in a row without hope before a run is hopeless."""
ALL = 0.98
"""A share of neurons that never, or always, fire."""
FEW = 8
"""In fewer samples many neurons have nothing to do."""
EXPLODES = 1e3
"""A gradient over its median so far."""
MEMORY = 20
"""Looks from which the median is taken."""
FALLS = 0.98
"""Loss of the later looks over that of the earlier ones, above which it does not fall."""


@dataclass(frozen=True)
class Fired:
    """How a layer fired in a batch: spikes per neuron and step, shares of silent and of
    always-firing neurons.
    """

    rate: float
    silent: float
    always: float


@dataclass(frozen=True)
class Norms:
    """L2 norms of a layer's gradient and of its parameters."""

    gradient: float
    weight: float


@dataclass(frozen=True)
class Look:
    """What was seen at one step. step: from 1; loss: of its batch of so many samples; layers,
    norms: by name.
    """

    step: int
    loss: float
    samples: int
    layers: Mapping[str, Fired]
    norms: Mapping[str, Norms]


def fired(rates: Tensor, most: int = 1) -> Fired:
    """From the mean spikes per step of each neuron, `[*features]`; most: spikes a step at most.

    >>> fired(torch.tensor([0.0, 0.5, 1.0, 1.0]))
    Fired(rate=0.625, silent=0.25, always=0.5)
    """
    full = most * (1.0 - 1e-6)  # a mean over processes is rounded
    shares = [(rates == 0).float().mean(), (rates >= full).float().mean()]
    return Fired(*torch.stack([rates.mean(), *shares]).tolist())


@dataclass
class Alarm:
    """A condition that holds since a step, for so many looks; losses: of the last of them."""

    since: int
    looks: int = 0
    losses: list[float] = field(default_factory=list)


class Monitor:
    """Looks at a network every few steps and says what goes wrong, each thing once.

    hopeless: why there is no hope, in words, else "".

    >>> monitor = Monitor()
    >>> for step, silent in ((1, False), (11, True), (21, True), (31, True)):
    ...     layers = {"2": Fired(0.0, 1.0, 0.0) if silent else Fired(0.1, 0.2, 0.0)}
    ...     for finding in monitor.see(Look(step, 2.3, 64, layers, {})):
    ...         print(finding.line())
    layer 2 has not fired since step 11 (before: 0.1 spikes per neuron and step), so nothing \
behind it sees the input; lower the learning rate, or use --rate-lower and --rate-weight
    """

    def __init__(self) -> None:
        self.alarms: dict[str, Alarm] = {}
        self.said: list[str] = []
        self.rates: dict[str, float] = {}
        self.gradients: dict[str, list[float]] = {}
        self.hopeless = ""

    def see(self, look: Look) -> list[Finding]:
        """What is new at this step."""
        found: list[Finding | None] = []
        for name, layer in look.layers.items():
            found += [self.silent(name, layer, look), self.saturated(name, layer, look)]
        found += [self.exploding(name, norms) for name, norms in look.norms.items()]
        found.append(self.without_gradient(look))
        return [finding for finding in found if finding is not None]

    def silent(self, name: str, layer: Fired, look: Look) -> Finding | None:
        """Whether a layer is dead."""
        dead = layer.rate == 0.0 or (look.samples >= FEW and layer.silent >= ALL)
        before = self.rates.get(name)
        if not dead:
            self.rates[name] = layer.rate
        alarm = self.new(f"layer {name} is silent", dead, look)
        if alarm is None:
            return None
        what = "has not fired"
        if layer.rate > 0.0:
            what = f"has {100 * layer.silent:.0f} % silent neurons"
        problem, advice = f"{what} since step {alarm.since}", "use --calibrate 0.05"
        if before is not None:
            problem += f" (before: {before:.2g} spikes per neuron and step)"
            advice = "lower the learning rate, or use --rate-lower and --rate-weight"
        return Finding("silent", name, "error", problem, layer.rate, advice)

    def saturated(self, name: str, layer: Fired, look: Look) -> Finding | None:
        """Whether a layer fires at every step."""
        full = layer.always == 1.0 or (look.samples >= FEW and layer.always >= ALL)
        alarm = self.new(f"layer {name} is saturated", full, look)
        if alarm is None:
            return None
        problem = f"fires at every step since step {alarm.since}"
        advice = "lower the learning rate, or use --rate-upper and --rate-weight"
        return Finding("saturated", name, "error", problem, layer.rate, advice)

    def exploding(self, name: str, norms: Norms) -> Finding | None:
        """Whether a gradient is far larger than it was, and than its weights."""
        if not math.isfinite(norms.gradient):
            return None  # in half precision a step that is skipped; otherwise the run ends
        past = self.gradients.setdefault(name, [])
        usual = statistics.median(past) if len(past) >= PATIENCE else math.inf
        self.gradients[name] = [*past, norms.gradient][-MEMORY:]
        key = f"layer {name} explodes"
        large = norms.gradient > max(EXPLODES * usual, norms.weight) and usual > 0.0
        if not large or key in self.said:
            return None
        self.said.append(key)
        ratio = norms.gradient / usual
        problem = (
            f"gets a gradient of norm {norms.gradient:.2g}, {ratio:.0f} times its median so far"
        )
        advice = "use --clip 1, or lower the learning rate"
        return Finding("explodes", name, "warning", problem, ratio, advice)

    def without_gradient(self, look: Look) -> Finding | None:
        """Whether every gradient is exactly 0."""
        zero = bool(look.norms) and all(norms.gradient == 0.0 for norms in look.norms.values())
        alarm = self.new("every gradient is 0", zero, look)
        if alarm is None:
            return None
        problem = f"every gradient is exactly 0 since step {alarm.since}"
        advice = "spikegrad diagnose names the layer that lets none through"
        return Finding("zero-gradient", "", "error", problem, 0.0, advice)

    def new(self, what: str, now: bool, look: Look) -> Alarm | None:
        """Keep a condition; return it at the look at which it has held long enough to be said."""
        if not now:
            self.alarms.pop(what, None)
            return None
        alarm = self.alarms.setdefault(what, Alarm(look.step))
        alarm.looks += 1
        alarm.losses = [*alarm.losses, look.loss][-ENOUGH:]
        if alarm.looks >= ENOUGH and not self.hopeless and not falls(alarm.losses):
            then, late = mean(alarm.losses[: ENOUGH // 2]), mean(alarm.losses[ENOUGH // 2 :])
            self.hopeless = (
                f"{what} since step {alarm.since}, and the loss does not fall: {then:.4g}, then "
                f"{late:.4g}"
            )
        if alarm.looks < PATIENCE or what in self.said:
            return None
        self.said.append(what)
        return alarm

    def state_dict(self) -> dict[str, Any]:
        """All that it remembers, as plain data."""
        alarms = {what: asdict(alarm) for what, alarm in self.alarms.items()}
        return {**vars(self), "alarms": alarms}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What `state_dict` gave; raises KeyError or TypeError for something else."""
        own = {name: state[name] for name in vars(self)}
        own["alarms"] = {what: Alarm(**alarm) for what, alarm in own["alarms"].items()}
        vars(self).update(own)


def falls(losses: list[float]) -> bool:
    """Whether the later half of losses is below the earlier one.

    >>> falls([2.3, 2.3, 2.0, 1.9]), falls([2.3, 2.2, 2.3, 2.3])
    (True, False)
    """
    half = len(losses) // 2
    return mean(losses[half:]) < FALLS * mean(losses[:half])


def mean(values: list[float]) -> float:
    """The mean."""
    return sum(values) / len(values)
