"""Safe repairs of a copy of a network: scale of the weights, slope of the surrogates, temperature.

    calibration    each layer's weights times one factor, until it fires at the wanted rate
    slope          k such that the surrogate has at least half of its peak at half of the membranes
    temperature    divides the output: below 1 where rates bound the loss, above 1 where the scores
                   are so large that the loss begins far above that of an output of zeros

They change no equation and no shape, and nothing that was learned but a scale. Sources:
calibration, Mishkin & Matas (2016), ICLR; width of the surrogate against the spread of membranes,
Zenke & Vogels (2021), Neural Computation 33(4): training is robust to the shape, not to the scale.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose.batch import Batch, batch_of
from spikegrad.diagnose.ends import floor_of, lower_scale, temperature_of
from spikegrad.diagnose.health import Health, health
from spikegrad.diagnose.layer import LayerHealth
from spikegrad.diagnose.probe import Loss, probe, shown
from spikegrad.errors import UserError
from spikegrad.nn.calibrate import calibrate
from spikegrad.nn.quantity import Quantity

__all__ = ["Fixed", "Repair", "Tempered", "fix"]

RATE = 0.05
"""Spikes per neuron and step after a calibration, where nothing is said."""
OF_INPUT = {"input-silent", "input-constant", "input-same", "input-large"}
BY_CALIBRATION = {"silent", "saturated", "nearly-saturated", "sparse", "unused", "stuck"}
BY_SLOPE = {"blocked", "narrow"}
BY_TEMPERATURE = {"floor", "loss-high"}


@dataclass(frozen=True)
class Repair:
    """One change.

    option: the field of the config that does the same, "calibrate", "slope" or "temperature";
    layer: which one, "" for the loss; value: of the option; line: what was done, with the figures.
    """

    option: str
    layer: str
    value: float
    line: str


@dataclass(frozen=True)
class Tempered:
    """A loss of an output that is divided first: a temperature for any loss."""

    loss: Loss
    divisor: float

    @property
    def temperature(self) -> float:
        """The temperature in force, that of the loss included."""
        return self.divisor * temperature_of(self.loss)

    def __call__(self, y: Tensor, *labels: Any, **how: Any) -> Tensor:
        """The loss of `y / divisor`; how: `lengths=` where there are some."""
        return self.loss(y / self.divisor, *labels, **how)


@dataclass(frozen=True, eq=False)
class Fixed:
    """What `fix` did.

    network: the repaired copy; loss: as given, or with a temperature; repairs: what was done;
    refused: what could not be done and why; before, after: the health of both.
    """

    network: nn.Module
    loss: Loss
    repairs: tuple[Repair, ...]
    refused: tuple[str, ...]
    before: Health
    after: Health

    @property
    def options(self) -> dict[str, float]:
        """The fields of a config that do the same; of several slopes the smallest, the widest."""
        found: dict[str, float] = {}
        for repair in self.repairs:
            lower = min(repair.value, found.get(repair.option, math.inf))
            found[repair.option] = lower
        return found

    def text(self) -> str:
        """What was done, then both tables."""
        done = [repair.line for repair in self.repairs] or ["nothing to repair safely"]
        parts = ["before", self.before.text(), "", *done, *self.refused, "", "after"]
        return "\n".join([*parts, self.after.text()])

    __str__ = text


def fix(
    network: nn.Module,
    batch: Any,
    *,
    loss: Loss | None = None,
    rate: float = RATE,
    classes: int | None = None,
    lengths: Any = None,
) -> Fixed:
    """Repair a copy of a network where that is safe, and measure it before and after.

    Findings of spikes call for `calibrate` to `rate` (spikes per neuron and step); then those of
    the surrogate for another slope, layer by layer; then those of the loss for a temperature. What
    no finding calls for is not touched, and nothing is where the input is wrong: on other input the
    repairs would be others.
    Arguments, and errors: as of `health`. The network itself does not change.

    >>> from spikegrad.nn import models
    >>> _ = torch.manual_seed(0)
    >>> x, labels = torch.rand(64, 784) * (torch.rand(64, 784) < 0.2), torch.arange(64) % 10
    >>> fixed = fix(models.article(as_written=True), (x.expand(10, 64, 784), labels))
    >>> fixed.before.ok, fixed.after.ok, fixed.options
    (False, True, {'calibrate': 0.05})
    """
    given = batch_of(network, batch, loss, lengths)
    batch = given.x if given.labels is None else (given.x, given.labels)
    how: dict[str, Any] = {"classes": classes, "lengths": given.lengths}
    before = health(network, batch, loss=loss, **how)
    wrong = [found for found in before.findings if found.kind in OF_INPUT]
    if wrong:
        first = f"nothing was repaired, because the input comes first: {wrong[0].line()}"
        return Fixed(copy.deepcopy(network), given.loss, (), (first,), before, before)
    repaired, work = copy.deepcopy(network), Work(given)
    repairs = [*work.scaled(repaired, before, rate)]
    if repairs:
        between = health(repaired, batch, loss=loss, **how)
    else:
        between = before
    slopes = [*work.widened(repaired, between)]
    tempered, cooled = work.tempered(repaired, between)
    repairs += [*slopes, *cooled]
    after = between
    if slopes or cooled:
        chosen = tempered if cooled else loss
        after = health(repaired, batch, loss=chosen, **how)
    return Fixed(repaired, tempered, tuple(repairs), tuple(work.refused), before, after)


class Work:
    """The repairs, on one batch; refused: what could not be done."""

    def __init__(self, given: Batch) -> None:
        self.given = given
        self.refused: list[str] = []

    def scaled(self, network: nn.Module, found: Health, rate: float) -> Iterator[Repair]:
        """Calibrate the whole network if a finding calls for it."""
        if not calls(found, BY_CALIBRATION):
            return
        try:
            done = calibrate(network, self.given.x, rate=rate, lengths=self.given.lengths)
        except (UserError, TypeError) as error:
            self.refused.append(f"not calibrated: {error}")
            return
        for layer in done:
            line = (
                f"layer {layer.layer}: weights times {layer.factor:.3g}, rate {layer.before:.3g} "
                f"before and {layer.after:.3g} after"
            )
            yield Repair("calibrate", layer.layer, rate, line)

    def widened(self, network: nn.Module, found: Health) -> Iterator[Repair]:
        """Give the surrogates that pass nothing the width of their membranes' distances."""
        wanted = {f.layer for f in found.findings if f.kind in BY_SLOPE}
        modules: dict[str, Any] = {shown(n, m): m for n, m in network.named_modules()}
        for layer in found.layers:
            if layer.name not in wanted:
                continue
            module = modules[layer.name]
            slope = slope_for(layer, module)
            if slope is None:
                what = f"{module.surrogate} has no slope that would make it wider"
                self.refused.append(f"layer {layer.name} not widened: {what}")
                continue
            before = layer_slope(module)
            set_slope(module, slope)
            line = (
                f"layer {layer.name}: slope {before:.3g} before and {slope:.3g} after, for "
                f"membranes that are {layer.typical:.2g} from the threshold"
            )
            yield Repair("slope", layer.name, slope, line)

    def tempered(self, network: nn.Module, found: Health) -> tuple[Loss, list[Repair]]:
        """The loss with another temperature if a finding calls for it."""
        loss, labels = self.given.loss, self.given.labels
        if labels is None or not calls(found, BY_TEMPERATURE):
            return loss, []
        criterion, lengths = self.given.criterion, self.given.lengths
        seen = probe(network, self.given.x, labels, loss=criterion, lengths=lengths)
        with torch.no_grad():
            if calls(found, {"floor"}):
                floor = floor_of(network, seen, labels, criterion)
                assert floor is not None
                divisor, what = (
                    floor.divisor,
                    f"floor {floor.lowest:.4f} before and {floor.then:.4f}",
                )
            else:
                divisor, then = lower_scale(seen.y, labels, criterion)
                what = f"first loss {float(seen.loss):.3g} before and {then:.3g}"
        chosen = Tempered(loss, divisor)
        before = temperature_of(loss)
        line = f"temperature {before:g} before and {chosen.temperature:g} after, {what} after"
        return chosen, [Repair("temperature", "", chosen.temperature, line)]


def calls(found: Health, kinds: set[str]) -> bool:
    """Whether a finding of these kinds is there."""
    return any(finding.kind in kinds for finding in found.findings)


def slope_for(layer: LayerHealth, module: Any) -> float | None:
    """The slope at which half of the membranes have at least half of the surrogate's peak.

    None where the surrogate has no slope or no width.
    """
    known = layer.typical is not None and layer.typical > 0 and math.isfinite(layer.width)
    if not (known and module.surrogate.family.has_slope):
        return None
    assert layer.typical is not None
    return layer_slope(module) * layer.width / (2.0 * layer.typical)


def layer_slope(module: Any) -> float:
    """The slope in force, of several the smallest, to which the width of a layer belongs."""
    return module.surrogate.slope if module.slope is None else float(module.slope().detach().min())


def set_slope(module: Any, slope: float) -> None:
    """Give a layer another slope; a learned one starts there."""
    module.surrogate = module.surrogate.with_slope(slope)
    if module.slope is not None:
        start = torch.full_like(module.slope().detach(), slope)
        module.slope = Quantity(start, learn=True, low=0.0)
