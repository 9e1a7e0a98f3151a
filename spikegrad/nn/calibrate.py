"""Scale a network, layer by layer, until every spiking layer fires at a wanted rate.

Source of the idea: layer-sequential unit-variance initialisation, Mishkin & Matas (2016), ICLR;
here the statistic is the firing rate, and the scale is found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikegrad.checks import check_current, check_finite
from spikegrad.errors import UserError, message
from spikegrad.nn.init import connections, has_norm_between
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.readout import LI
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.tape import record

__all__ = ["Calibrated", "calibrate"]


@dataclass(frozen=True)
class Calibrated:
    """What was done to one layer: its name, the factor, its rate before and after."""

    layer: str
    factor: float
    before: float
    after: float


def calibrate(
    network: nn.Module,
    x: Tensor,
    *,
    rate: float = 0.05,
    tolerance: float = 0.05,
    largest: float = 1e4,
) -> list[Calibrated]:
    """Scale each connection in order until the spiking layer behind it fires at `rate`.

    x: a representative batch `[T, B, *features]`; rate: spikes per neuron and step; tolerance:
    relative; largest: bound of the factor, either way. The weights and the bias of the
    connection are scaled, or those of the batch norm behind it; nothing else changes, and on an
    error nothing at all. Returns one `Calibrated` per spiking layer.
    Raises UserError when a layer cannot reach the rate (its input is silent, for example).

    >>> from spikegrad.nn import LIF, Linear, Sequential
    >>> _ = torch.manual_seed(0)
    >>> network = Sequential(Linear(50, 40), LIF(20.0), Linear(40, 30), LIF(20.0))
    >>> for layer in calibrate(network, torch.rand(10, 20, 50), rate=0.1):
    ...     print(layer.layer, round(layer.after, 2))
    1 0.1
    3 0.1
    """
    check_current(x)
    check_finite(x)
    if not 0.0 < rate < 1.0:
        raise UserError(message("expected rate in (0, 1) spikes per neuron and step", str(rate)))
    names = {module: name for name, module in network.named_modules()}
    saved = {name: value.detach().clone() for name, value in network.state_dict().items()}
    done = []
    with torch.no_grad(), measuring(network):
        for name, layer, neuron in list(connections(network)):
            if neuron is None or isinstance(neuron, LI):
                continue
            target = has_norm_between(network, name) or layer
            spiking = neuron.neuron if isinstance(neuron, Recurrent) else neuron
            fires = rate_of(network, x, names[spiking])
            try:
                done.append(bisect(target, fires, names[spiking], rate, tolerance, largest))
            except UserError:
                network.load_state_dict(saved)
                raise
    return done


def rate_of(network: nn.Module, x: Tensor, layer: str) -> Callable[[], float]:
    """A measurement of one layer's rate on x."""

    def measure() -> float:
        with record(network, membrane=False) as tapes:
            network(x)
        return float(tapes[layer].spikes.float().mean())

    return measure


def bisect(
    target: nn.Module,
    fires: Callable[[], float],
    layer: str,
    rate: float,
    tolerance: float,
    largest: float,
) -> Calibrated:
    """Find the factor on a geometric grid, then by bisection of its logarithm."""
    weights = [p for p in (target.weight, target.bias) if isinstance(p, nn.Parameter)]
    start = [p.detach().clone() for p in weights]

    def at(factor: float) -> float:
        for p, s in zip(weights, start, strict=True):
            p.copy_(s * factor)
        return fires()

    before = now = at(1.0)
    factor, low, high = 1.0, 0.0, float("inf")
    for _ in range(60):
        if abs(now - rate) <= tolerance * rate:
            return Calibrated(layer, factor, before, now)
        low, high = (factor, high) if now < rate else (low, factor)
        factor = 2 * low if high == float("inf") else high / 2 if low == 0 else (low * high) ** 0.5
        if not 1 / largest <= factor <= largest or (low and high / low < 1 + 1e-6):
            break
        now = at(factor)
    best = f"rate {now:.4g} at factor {factor:.4g}"
    raise UserError(
        message(
            f"expected layer {layer} to reach {rate:g} spikes per neuron and step",
            best,
            "check that its input is not silent or constant, or take more samples or another rate",
        )
    )


@contextmanager
def measuring(network: nn.Module) -> Iterator[None]:
    """Batch statistics without memory of them, and no dropout; modes come back afterwards."""
    modes = {module: module.training for module in network.modules()}
    momenta = {m: m.momentum for m in network.modules() if isinstance(m, BatchNorm)}
    try:
        network.eval()
        for norm in momenta:
            norm.training, norm.momentum = True, 0.0
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum in momenta.items():
            norm.momentum = momentum
