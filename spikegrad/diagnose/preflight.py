"""Before the first step: one batch tells what will keep a network from learning.

Checks of the input, of every spiking layer, of every parameter's gradient, of the gradient's way
through time and depth, of the output and of the loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose.activity import check_activity
from spikegrad.diagnose.batch import criterion_of, lengths_of
from spikegrad.diagnose.ends import (
    Floor,
    check_dead,
    check_input,
    check_loss_value,
    check_output,
    floor_of,
)
from spikegrad.diagnose.finding import Finding, ordered
from spikegrad.diagnose.gradients import check_flow, check_parameters
from spikegrad.diagnose.layer import LayerHealth, layers_of
from spikegrad.diagnose.printed import Findings
from spikegrad.diagnose.probe import Loss, Probe, probe
from spikegrad.nn.fold import is_static
from spikegrad.nn.tape import unrecorded
from spikegrad.nn.time_step import dt_problem
from spikegrad.ragged import Events, as_frame

__all__ = ["findings_of", "preflight"]


def preflight(
    network: nn.Module,
    x: Tensor | Events,
    labels: Any = None,
    *,
    loss: Loss,
    floor: float | None = None,
    classes: int | None = None,
    lengths: Any = None,
) -> Findings:
    """Find what will keep a network from learning, by one forward and backward pass.

    network: any `nn.Module` with neurons of this package in it, run in the mode it is in; x: one
    batch, `[T, B, *features]`, or `Events`; labels: the loss's second argument; loss:
    `loss(y, labels)` to a scalar, called some more times on made-up outputs; floor: the lowest
    value of the loss, if known (it counts only when the output is spikes; by default it is found by
    trying a perfect output);
    classes: how many there are; lengths: the steps of every sample, int64 `[B]`, None for T each.
    Returns a list of findings, errors first, which prints as a table; none for a network that is
    ready. Nothing of the network
    changes: parameters, buffers, gradients, mode and random state are as before.
    Raises UserError for input or a loss that cannot be used at all.

    >>> from spikegrad.functional import rate_cross_entropy
    >>> from spikegrad.nn import models
    >>> _ = torch.manual_seed(0)
    >>> x, labels = torch.rand(64, 784) * (torch.rand(64, 784) < 0.2), torch.arange(64) % 10
    >>> network = models.article(as_written=True)
    >>> found = preflight(network, x.expand(10, 64, 784), labels, loss=rate_cross_entropy)
    >>> print(found[0].line())
    layer 3 never fires: membrane reaches 0.01 of threshold, so nothing behind it sees the input; \
use --calibrate 0.05 (in Python sg.nn.calibrate(network, x))
    """
    step = x.dt if isinstance(x, Events) and x.in_ms else None
    x, lengths = as_frame(network, x, lengths)
    own = lengths_of(x, lengths)
    loss = criterion_of(loss, own)
    seen = probe(network, x, labels, loss=loss, lengths=own)
    layers = layers_of(network, seen)
    with torch.no_grad():
        how: dict[str, Any] = {"floor": floor, "classes": classes, "events": step}
        found = findings_of(network, seen, layers, labels, loss, **how)
    return Findings(found)


def findings_of(
    network: nn.Module,
    seen: Probe,
    layers: list[LayerHealth],
    labels: Any,
    loss: Loss,
    *,
    floor: float | None = None,
    classes: int | None = None,
    events: float | None = None,
) -> list[Finding]:
    """The findings of a pass that was recorded already; arguments as of `preflight`; events: the
    step (ms) of those that came in.
    """
    criterion = loss if labels is not None else lambda y, _: loss(y)
    bound = floor_of(network, seen, labels, criterion, floor)
    found = every(network, seen, layers, labels, criterion, bound, classes)
    return ordered([*check_steps(network, events), *found])


def every(
    network: nn.Module,
    seen: Probe,
    layers: list[LayerHealth],
    labels: Any,
    loss: Loss,
    floor: Floor | None,
    classes: int | None,
) -> Iterator[Finding]:
    """All checks, from the input to the loss."""
    yield from check_input(seen.x)
    yield from check_seen(network, layers)
    yield from doubted(network, seen.order, check_activity(layers, seen.samples))
    yield from doubted(network, seen.order, check_parameters(network, seen, layers))
    yield from check_flow(layers, still=is_static(seen.x))
    yield from check_output(network, seen, labels, classes)
    yield from check_loss_value(seen, labels, loss, floor)
    yield from check_dead(network, seen)


def check_steps(network: nn.Module, events: float | None) -> Iterator[Finding]:
    """Layers, and events into them, with steps of different length (ms)."""
    got = dt_problem(network, events)
    if got:
        problem = f"time steps differ: {got}"
        yield Finding("time-step", "", "warning", problem, 0.0, "give all of them the same dt")


def check_seen(network: nn.Module, layers: list[LayerHealth]) -> Iterator[Finding]:
    """Layers with a state that no check can look into, and a network without spikes."""
    strangers = unrecorded(network)
    for name in strangers:
        kind = type(network.get_submodule(name)).__name__
        problem = f"({kind}) has a state but cannot be recorded, so its spikes are not checked"
        advice = "it may be the cause of other findings"
        yield Finding("unseen", name, "warning", problem, 0.0, advice)
    if not layers and not strangers:
        problem = "no layer of the network that ran sends spikes"
        advice = "add a layer of spiking neurons, for example spikegrad.LIF"
        yield Finding("no-spikes", "", "warning", problem, 0.0, advice)


def doubted(
    network: nn.Module, order: tuple[str, ...], findings: Iterable[Finding]
) -> Iterator[Finding]:
    """The findings; a layer that no check sees may be the cause of an error elsewhere."""
    unseen = [name for name in unrecorded(network) if name in order]
    for finding in findings:
        if unseen and finding.severity == "error" and finding.layer:
            advice = f"look at the output of layer {unseen[0]} first: it cannot be recorded"
            finding = replace(finding, advice=advice)
        yield finding
