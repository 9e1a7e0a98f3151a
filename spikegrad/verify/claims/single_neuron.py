"""One stochastic neuron: it spikes with probability F(u - theta), and its surrogate is F'.

    E[s] = F,     dE[s]/dw = F' x,     which is what the surrogate gradient is, whatever s was

For the loss (s - t)^2 the expected surrogate gradient is 2 (F - t) F' x and the exact one
(1 - 2 t) F' x, so that the bias is F' (2F - 1) x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from spikegrad.functional.lif import LIF
from spikegrad.surrogate import Surrogate, get, names
from spikegrad.verify.claim import Measured, claim

__all__ = ["single_neuron"]

NEURONS, INPUTS, STEP = 64, 3, 1e-5


@claim(
    statement="of one neuron with escape noise F the surrogate gradient with g = F' is the exact "
    "gradient of the expected spike; for the loss (s - t)^2 its bias is F'(2F - 1)",
    source="Gygax & Zenke 2025, Neural Computation 37(5)",
    remedy="do not use spike='escape' with the surrogate named",
)
def single_neuron(seed: int) -> Iterator[Measured]:
    """Every surrogate that is a probability density, at weights that the seed draws."""
    for name in names(aliases=False):
        record = get(name)
        if record.has_primitive and abs(record.area - 1.0) < 1e-9:
            yield from measured(record, seed)


def measured(record: Surrogate, seed: int) -> Iterator[Measured]:
    """One surrogate; the exact gradients are finite differences of exact expectations."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(NEURONS, INPUTS, generator=g, dtype=torch.float64)
    w = torch.randn(NEURONS, INPUTS, generator=g, dtype=torch.float64)
    t = torch.rand(NEURONS, generator=g, dtype=torch.float64)
    smooth = away(record, (w * x).sum(1) - 1.0)
    x, w, t = x[smooth], w[smooth], t[smooth]
    chance = expected(record, w, x)
    inside = (chance > 1e-6) & (chance < 1.0 - 1e-6)  # noise below and above it exists
    fires, silent = sent(record, w, x, 0.999999 * chance), sent(record, w, x, 1.000001 * chance)
    wrong = ((fires != 1.0) | (silent != 0.0)) & inside
    yield Measured(f"{record}: neurons whose chance to spike is not F", float(wrong.sum()), most=0)

    exact = differences(lambda v: expected(record, v, x), w)
    gradients = [gradient(record, w, x, noise) for noise in (0.0, 1.0)]
    error = max(float((each - exact).abs().max()) for each in gradients)
    yield Measured(f"{record}: |gradient - exact| / peak", error / record.peak, most=1e-6)

    def loss(v: Tensor) -> Tensor:
        p = expected(record, v, x)
        return p * (1.0 - t) ** 2 + (1.0 - p) * t**2

    spiking, silence = gradients
    p = chance[:, None]
    surrogate = p * 2 * (1 - t[:, None]) * spiking - (1 - p) * 2 * t[:, None] * silence
    bias = record.derivative((w * x).sum(1) - 1.0)[:, None] * (2 * p - 1) * x
    error = float((surrogate - differences(loss, w) - bias).abs().max())
    yield Measured(f"{record}: |bias - F'(2F - 1)| / peak", error / record.peak, most=1e-6)


def expected(record: Surrogate, w: Tensor, x: Tensor) -> Tensor:
    """F(w x - theta) of each neuron, by the primitive: its chance to spike."""
    return record.primitive((w * x).sum(1) - 1.0)


def away(record: Surrogate, distance: Tensor) -> Tensor:
    """Which distances are no kink of the surrogate, where a finite difference says nothing."""
    kinks = torch.tensor([*record.family.kinks, math.inf], dtype=torch.float64) / record.slope
    return (distance[:, None] - kinks).abs().amin(1) > 1e3 * STEP


def sent(record: Surrogate, w: Tensor, x: Tensor, noise: Tensor) -> Tensor:
    """The spikes of one step of the library's own neurons at this noise `[N]`."""
    current = (w * x).sum(1)[None, None]
    neurons = LIF.variant(spike="escape")
    return neurons(current, surrogate=record, noise=noise.detach()[None, None])[0][0, 0]


def gradient(record: Surrogate, w: Tensor, x: Tensor, noise: float) -> Tensor:
    """What autograd returns for w where every neuron spikes (noise 0) or none (1)."""
    v = w.clone().requires_grad_()
    s = sent(record, v, x, torch.full((len(w),), noise, dtype=w.dtype))
    return torch.autograd.grad(s.sum(), v)[0]


def differences(function: Callable[[Tensor], Tensor], w: Tensor) -> Tensor:
    """The central difference for each weight; the neurons do not depend on one another."""
    parts = []
    for i in range(w.shape[1]):
        h = torch.zeros_like(w)
        h[:, i] = STEP
        parts.append((function(w + h) - function(w - h)) / (2 * STEP))
    return torch.stack(parts, 1)
