"""Checks of gradients: missing, exactly zero, not finite, vanishing or exploding."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor, nn

from spikegrad.diagnose.activity import is_narrow
from spikegrad.diagnose.finding import Finding, Severity
from spikegrad.diagnose.layer import LayerHealth
from spikegrad.diagnose.probe import Probe
from spikegrad.nn.quantity import Decay, Quantity, no_decay
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.wiring import CONNECTIONS

__all__ = ["check_flow", "check_parameters"]

GROWS = 1e4
"""The growth per step, over the whole sequence: the gradient of the current would explode."""
FADES = 1e-6
"""The same, the other way."""
DEPTH = 1e4
"""First over last spiking layer, either way."""
LONG, SHORT = 20, 0.1
"""In so many steps a gradient that reaches over less than this share of them is worth a line."""


def check_parameters(
    network: nn.Module, seen: Probe, layers: list[LayerHealth]
) -> Iterator[Finding]:
    """Parameters that this batch teaches nothing, or teaches nonsense, grouped by layer."""
    order = seen.order
    small = no_decay(network)  # all but weights
    groups: dict[tuple[str, str], list[str]] = {}
    for name, gradient in seen.parameters.items():
        state = state_of(gradient)
        if state:
            groups.setdefault((owner(network, name), state), []).append(name)
    for (layer, state), names in groups.items():
        words = ", ".join(word(layer, name) for name in names)
        if state == "not finite":
            problem = f"has a gradient that is not finite: {words}"
            advice = "use a narrower surrogate than straight_through, --clip 1, or fewer steps"
            yield Finding("not-finite", layer, "error", problem, math.inf, advice)
        elif state == "none":
            problem = f"is not part of the loss: {words} gets no gradient"
            advice = "remove it, freeze it, or look for a missing connection or .detach()"
            yield Finding("detached", layer, "warning", problem, 0.0, advice)
        else:
            weighty = any(name not in small for name in names)
            severity, advice = cause(network, order, layer, layers)
            if not weighty:
                severity = "warning"
            problem = f"learns nothing: {words} gets gradient 0"
            yield Finding("zero-gradient", layer, severity, problem, 0.0, advice)


def state_of(gradient: Tensor | None) -> str:
    """What is wrong with a gradient, "" if nothing is."""
    if gradient is None:
        return "none"
    if not bool(gradient.isfinite().all()):
        return "not finite"
    return "" if bool(gradient.any()) else "zero"


def owner(network: nn.Module, name: str) -> str:
    """The layer that a parameter belongs to: quantities belong to their neuron, and a feedback's
    connection to the layer that it feeds back.
    """
    modules = dict(network.named_modules())
    path = name.rpartition(".")[0]
    while isinstance(modules[path], (Quantity, Decay)):
        path = path.rpartition(".")[0]
    above = path.rpartition(".")[0]
    if path and isinstance(modules[above], Recurrent) and path.endswith("connection"):
        return above or type(network).__name__
    return path or type(network).__name__


def word(layer: str, name: str) -> str:
    """A parameter within its layer: `1.threshold.raw` of layer 1 is its threshold."""
    inner = name.removeprefix(f"{layer}.")
    return inner.removesuffix(".raw").removesuffix(".quantity")


def cause(
    network: nn.Module, order: tuple[str, ...], layer: str, layers: list[LayerHealth]
) -> tuple[Severity, str]:
    """Why a gradient is zero, as severity and advice: behind, before, or an empty weight ahead."""
    here = order.index(layer) if layer in order else 0
    at = {a.name: order.index(a.name) if a.name in order else 0 for a in layers}
    behind = [a.name for a in layers if a.blocked and at[a.name] >= here]
    if behind:
        return "error", f"no gradient passes layer {behind[0]}: repair that first"
    narrow = [a.name for a in layers if is_narrow(a) and a.total == 0.0 and at[a.name] >= here]
    if narrow:
        return "error", f"almost no gradient passes layer {narrow[-1]}: repair that first"
    before = [a.name for a in layers if a.dead and at[a.name] < here]
    within = [a.name for a in layers if a.dead and a.name.startswith(f"{layer}.")]
    if before or within:
        return "error", f"layer {(before or within)[0]} never fires: repair that first"
    modules = dict(network.named_modules())
    behind_here = [(name, modules[name]) for name in order[here + 1 :]]
    empty = [n for n, c in behind_here if isinstance(c, CONNECTIONS) and not bool(c.weight.any())]
    if empty:
        return (
            "warning",
            f"the weights of layer {empty[0]} are all 0; ignore this if it is intended",
        )
    return "error", "look for an input that is always 0, or for .detach() before the loss"


def check_flow(layers: list[LayerHealth], *, still: bool) -> Iterator[Finding]:
    """Growth and decay of the gradient over time and depth; still: whether every step is alike."""
    for layer in layers:
        yield from over_time(layer)
        if not still:
            yield from memory(layer)
    totals = [(layer, layer.total or 0.0) for layer in layers]
    there = [(layer, total) for layer, total in totals if total > 0 and math.isfinite(total)]
    if len(there) < 2:
        return
    (first, begin), (last, end) = there[0], there[-1]
    ratio = begin / end
    if ratio < 1 / DEPTH:
        problem = f"gets a gradient {ratio:.0e} times that of layer {last.name}: it vanishes"
        advice = "use --batch-norm, a wider surrogate (--slope lower), or --calibrate 0.05"
        yield Finding("depth-vanishes", first.name, "warning", problem, ratio, advice)
    elif ratio > DEPTH:
        problem = f"gets a gradient {ratio:.0e} times that of layer {last.name}: it explodes"
        advice = "use --clip 1, a surrogate of smaller peak (--slope lower), or smaller weights"
        yield Finding("depth-explodes", first.name, "warning", problem, ratio, advice)


def over_time(layer: LayerHealth) -> Iterator[Finding]:
    """One layer's gradient, backwards over the steps."""
    growth, steps = layer.growth, len(layer.gradient or ())
    if growth is None:
        return
    if math.isinf(growth):
        problem = "has a gradient that overflows on its way back in time"
        advice = "use a surrogate of smaller peak, not straight_through, or truncated BPTT"
        yield Finding("overflows", layer.name, "error", problem, growth, advice)
        return
    total = growth ** (steps - 1)
    if total > GROWS:
        problem = f"has an exploding gradient: x{growth:.3g} per step back, {total:.0e} in all"
        advice = "use --clip 1, a surrogate of smaller peak (--slope lower), or --truncate"
        yield Finding("explodes", layer.name, "warning", problem, growth, advice)
    elif total < FADES:
        problem = f"has a vanishing gradient: x{growth:.3g} per step back, {total:.0e} in all"
        advice = "use a longer --tau-mem, or a loss on the mean over time"
        yield Finding("vanishes", layer.name, "warning", problem, growth, advice)


def memory(layer: LayerHealth) -> Iterator[Finding]:
    """How far from the end a gradient reaches, where the steps are not all alike."""
    steps = len(layer.gradient or ())
    if layer.memory is None or steps < LONG or layer.memory >= SHORT * steps:
        return
    problem = f"gets a gradient from the last step over {layer.memory} of {steps} steps back"
    advice = "use a longer --tau-mem, or feedback, if the order of distant inputs matters"
    yield Finding("short-memory", layer.name, "info", problem, float(layer.memory), advice)
