"""Checks of both ends of a network: what goes in, what comes out, and what the loss makes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from spikegrad.diagnose.finding import Finding, Severity
from spikegrad.diagnose.probe import Loss, Probe, shown, spiking
from spikegrad.ragged import mask_of

__all__ = [
    "Floor",
    "check_dead",
    "check_input",
    "check_loss_value",
    "check_output",
    "dead_outputs",
    "floor_of",
    "is_spiking_output",
    "lower_scale",
    "temperature_of",
]

LARGE = 20.0
"""Input beyond this is raw data (bytes, counts), not a current in units of the threshold."""
HIGH = 2.0
"""A loss at the start this many times that of an output of zeros: badly scaled scores."""
LIFTED = 0.1
"""A floor this far (nats) above what a temperature would reach is worth a line."""
MANY = 0.5
"""A share of dead outputs above this is no accident of the first weights."""
MOST_NAMED = 5
"""Outputs that a line names."""
DIVISORS = tuple(float(f"{m}e{n}") for n in range(6) for m in (2, 5, 10))
NEAR = 1.1
"""What a first loss may be, in units of that of zeros, where the scores are scaled down."""
TEMPERATURES = (0.5, 0.2, 0.1, 0.05)


def check_input(x: Tensor) -> Iterator[Finding]:
    """An input that says nothing, or says it far too loudly."""
    seen = x[0] if x.dim() > 1 and x.stride(0) == 0 else x
    if not x.is_floating_point():
        return
    low, high = float(seen.min()), float(seen.max())
    if low == high:
        kind, what = "input-constant", f"constant: every value is {low:g}"
        if low == 0.0:
            kind, what = "input-silent", "silent: every value is 0"
        yield Finding(kind, "", "error", f"the input is {what}", low, "check data and encoder")
        return
    if x.dim() > 2 and x.shape[1] == 1:
        problem, advice = "the batch has one sample", "take more to see that too"
        yield Finding("one-sample", "", "info", problem, 1.0, advice)
    if x.dim() > 2 and same_for_all(x):
        problem = "the input is the same for every sample of the batch"
        advice = "check data and encoder; the batch is [T, B, ...]"
        yield Finding("input-same", "", "error", problem, 0.0, advice)
    if max(-low, high) > LARGE:
        problem = f"the input reaches {max(high, -low, key=abs):g}, thresholds are about 1"
        advice = "divide bytes by 255, or use --normalise standard"
        yield Finding("input-large", "", "warning", problem, max(-low, high), advice)
    if x.dim() > 2:
        empty = float((x == 0).movedim(1, 0).flatten(1).all(1).float().mean())
        if empty > 0.1:
            problem = f"the input of {100 * empty:.0f} % of the samples is 0 at every step"
            yield Finding("input-empty", "", "warning", problem, empty, "check data and encoder")


def same_for_all(y: Tensor, axis: int = 1) -> bool:
    """Whether more than one sample is there and all are equal."""
    first = y.narrow(axis, 0, 1)
    return y.shape[axis] > 1 and bool((y == first).all())


def check_output(
    network: nn.Module, seen: Probe, labels: Any, classes: int | None
) -> Iterator[Finding]:
    """Outputs that are not finite, too few, or the same for every sample."""
    y = seen.y
    if not bool(torch.isfinite(y).all()):
        problem, advice = "the output is not finite", "look for huge weights"
        yield Finding("output-not-finite", "", "error", problem, math.inf, advice)
        return
    batch = labels.shape[0] if isinstance(labels, Tensor) and labels.dim() else None
    if classes is not None and y.dim() > 1 and y.shape[-1] < classes:
        problem = f"the network has {y.shape[-1]} outputs for {classes} classes"
        advice = "give its last layer as many outputs as there are classes"
        yield Finding("outputs-missing", "", "error", problem, float(y.shape[-1]), advice)
    axis = 1 if y.dim() > 2 else 0
    if y.dim() < 2 or (batch is not None and y.shape[axis] != batch):
        return
    if same_for_all(y, axis) and not (seen.x.dim() > 2 and same_for_all(seen.x)):
        where = lost_at(network, seen)
        advice = f"the samples become equal in layer {where}: repair that first" if where else ""
        problem = "the output is the same for every sample"
        advice = advice or "check the layers after the last spiking layer"
        yield Finding("output-same", "", "error", problem, 0.0, advice)


def check_dead(network: nn.Module, seen: Probe) -> Iterator[Finding]:
    """Some outputs that say nothing; where none does, other findings have the reason."""
    dead, count = dead_outputs(network, seen), max(seen.y.shape[-1], 1)
    if not dead or len(dead) >= count or seen.samples == 1:
        return
    which = ", ".join(map(str, dead[:MOST_NAMED])) + (", ..." if len(dead) > MOST_NAMED else "")
    what = "never fire" if is_spiking_output(network, seen) else "are the same for every sample"
    problem = f"{len(dead)} of {count} outputs {what} in this batch: {which}"
    advice = "use --calibrate 0.05, or take a batch with every class in it"
    share = len(dead) / count
    severity: Severity = "warning" if share > MANY else "info"  # a few are usual at the start
    yield Finding("dead-outputs", "", severity, problem, share, advice)


def dead_outputs(network: nn.Module, seen: Probe) -> tuple[int, ...]:
    """Outputs that say nothing on this batch, by their numbers, of y `[T, B, C]`.

    Spiking outputs that never fire; others that are the same for every sample at every step, or 0
    at every step where there is one sample.
    """
    y = seen.y.flatten(2) if seen.y.dim() > 2 else seen.y[None].flatten(2)
    if y.dim() != 3 or not y.numel():
        return ()
    lengths = seen.lengths if len(y) == len(seen.x) else None
    first = 0 if lengths is None else int(lengths.argmax())
    one = y[:, first : first + 1]
    same = y == (one if y.shape[1] > 1 and not is_spiking_output(network, seen) else 0)
    if lengths is not None:
        same |= ~mask_of(lengths.to(y.device), len(y)).unsqueeze(2)
    return tuple(same.all(0).all(0).nonzero().flatten().tolist())


def lost_at(network: nn.Module, seen: Probe) -> str:
    """The first spiking layer whose spikes are the same for every sample."""
    for name, module, tape in spiking(network, seen.tapes):
        if same_for_all(tape.spikes):
            return shown(name, module)
    return ""


def check_loss_value(
    seen: Probe, labels: Any, loss: Loss, floor: Floor | None
) -> Iterator[Finding]:
    """A loss that is no number, starts far above a guess, or cannot come down."""
    value = float(seen.loss)
    if not math.isfinite(value):
        advice = "look for NaN in the labels or an overflow in the output"
        yield Finding("loss-not-finite", "", "error", f"the loss is {value}", value, advice)
        return
    with torch.no_grad():
        guess = float(loss(torch.zeros_like(seen.y), labels))
        if guess > 0 and value > HIGH * guess:
            problem = f"the loss starts at {value:.3g}; an output of zeros has loss {guess:.3g}"
            advice = "scale the output down: a higher --temperature, or smaller last weights"
            yield Finding("loss-high", "", "warning", problem, value, advice)
        if floor is not None:
            yield from check_floor(floor, loss)


def check_floor(floor: Floor, loss: Loss) -> Iterator[Finding]:
    """A floor that a temperature would lower."""
    if floor.lowest - floor.then <= LIFTED:
        return
    temperature = floor.divisor * temperature_of(loss)
    problem = f"the loss cannot go below {floor.lowest:.4f} with spikes as the output"
    advice = f"use --temperature {temperature:g} (floor {floor.then:.4f}), or --readout linear"
    yield Finding("floor", "", "warning", problem, floor.lowest, advice)


@dataclass(frozen=True)
class Floor:
    """The lowest loss of an output of spikes.

    lowest: what a perfect output costs; divisor: of the temperature in force, which lowers it most;
    then: the floor with it.
    """

    lowest: float
    divisor: float
    then: float


def floor_of(
    network: nn.Module, seen: Probe, labels: Any, loss: Loss, known: float | None = None
) -> Floor | None:
    """What a perfect spiking output costs, and the temperature that would lower it.

    The perfect output fires at every step for the label and never for the others; a temperature
    divides it. With label smoothing a larger margin does not help, so the best is looked for.
    known: the lowest loss, if the caller knows it. None where the output is no spikes or the labels
    are no classes.
    """
    if not (is_spiking_output(network, seen) and is_classes(seen.y, labels)):
        return None
    y = seen.y
    perfect = one_hot(labels, y.shape[-1]).to(y.dtype).expand_as(y)
    costs = {k: float(loss(perfect / k, labels)) for k in (1.0, *TEMPERATURES)}
    lowest = costs[1.0] if known is None else known
    best = min(costs.values())
    near = next(k for k, cost in costs.items() if cost <= best + 0.01)
    return Floor(lowest, near, costs[near])


def lower_scale(y: Tensor, labels: Any, loss: Loss) -> tuple[float, float]:
    """The least divisor of an output with which the loss is about that of zeros, and the loss."""
    guess = float(loss(torch.zeros_like(y), labels))
    value = float(loss(y, labels))
    for divisor in DIVISORS:
        value = float(loss(y / divisor, labels))
        if value <= NEAR * guess:
            break
    return divisor, value


def temperature_of(loss: Loss) -> float:
    """The temperature in force, where the loss is an object or a partial that tells."""
    while isinstance(loss, partial) and "temperature" not in loss.keywords:
        loss = loss.func
    told = getattr(loss, "keywords", {}).get("temperature", getattr(loss, "temperature", 1.0))
    return float(told)


def is_spiking_output(network: nn.Module, seen: Probe) -> bool:
    """Whether the output is the spike train of a layer."""
    return any(
        module.surrogate.mode == "hard"
        and tape.spikes.shape == seen.y.shape
        and torch.equal(tape.spikes, seen.y)
        for _, module, tape in spiking(network, seen.tapes)
    )


def is_classes(y: Tensor, labels: Any) -> bool:
    """Whether labels name one of the outputs per sample, y `[T, B, C]`."""
    return (
        isinstance(labels, Tensor)
        and labels.dtype == torch.int64
        and y.dim() == 3
        and labels.shape == y.shape[1:2]
        and bool(((labels >= 0) & (labels < y.shape[-1])).all())
    )
