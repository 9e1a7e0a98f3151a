"""Fluctuation-driven weights give the membrane the mean and the variance that were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spikegrad import functional as F
from spikegrad.nn import CUBALIF, LIF, Linear, fluctuation_driven
from spikegrad.verify.claim import Measured, claim

__all__ = ["fluctuation"]

STEPS, FROM, BATCH, INPUTS, NEURONS = 800, 200, 2, 400, 2000
RATE, XI, MU = 0.02, 2.0, 0.2


@claim(
    statement="fluctuation-driven weights put the membrane of LIF and CUBALIF, without spikes, at "
    "the mean mu and the standard deviation (theta - mu)/xi",
    source="Rossbroich, Gygax & Zenke 2022, Neuromorph. Comput. Eng. 2(4), eqs. 7-13",
    remedy="use initialise(network, 'kaiming') and calibrate(network, x)",
)
def fluctuation(seed: int) -> Iterator[Measured]:
    """Poisson input of the stated rate. Few per cent are the draw's own: of weights and of time."""
    layers = {"LIF": LIF(20.0), "CUBALIF": CUBALIF(10.0, tau_syn=5.0, gain_syn="leak")}
    for name, neuron in layers.items():
        u = membranes(neuron, seed)
        sigma = float(u.var(0).mean().sqrt())
        # Spikes are 0 or 1 a step: their variance is rate (1 - rate), not rate.
        wanted = (1.0 - MU) / XI * (1.0 - RATE) ** 0.5
        yield Measured(f"{name}: mean - mu", abs(float(u.mean()) - MU), most=0.04)
        yield Measured(f"{name}: relative error of sigma", abs(sigma / wanted - 1.0), most=0.06)


def membranes(neuron: Any, seed: int) -> Tensor:
    """Membranes `[T, B, N]` of neurons that never reach their threshold, once they are settled."""
    g = torch.Generator().manual_seed(seed)
    layer = Linear(INPUTS, NEURONS, bias=False)
    fluctuation_driven(layer, neuron, rate=RATE, xi=XI, mu=MU, generator=g)
    x = (torch.rand(STEPS, BATCH, INPUTS, generator=g) < RATE).float()
    with torch.no_grad():
        quantities = {**neuron.quantities(), "threshold": 1e9}
        *_, trace = getattr(F, neuron.scan)(layer(x), **quantities, trace=True)
    membrane: Tensor = trace.membrane[FROM:]
    return membrane
