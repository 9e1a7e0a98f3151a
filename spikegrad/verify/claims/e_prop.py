"""E-prop without feedback is BPTT: an eligibility trace forward in time, a learning signal now.

    eps_u[t] = beta eps_u[t-1] + x[t]              eps_a[t+1] = rho eps_a[t] + e[t]
    e[t] = g[t] (eps_u[t] - kappa eps_a[t])        dloss/dW = sum over t of L[t] e[t],  L = dloss/ds

for ALIF (LIF: kappa = 0) with a detached reset. With feedback weights it leaves out the paths
through other neurons, and differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikegrad import functional as F
from spikegrad.surrogate import arctan
from spikegrad.verify.claim import Measured, claim

__all__ = ["e_prop"]

STEPS, BATCH, INPUTS, NEURONS = 40, 3, 8, 5
SURROGATE = arctan(2.0)
ADAPTATION: dict[str, Any] = {"rho": 0.9, "kappa": 0.3}


@claim(
    statement="e-prop, which goes forward in time, gives the gradient of BPTT where a layer has no "
    "feedback; with feedback it does not",
    source="Bellec et al. 2020, Nature Communications 11:3625, eqs. 22-25",
    remedy="run the checks resets and backends: one of them says which gradient is wrong",
)
def e_prop(seed: int) -> Iterator[Measured]:
    """LIF, ALIF, and LIF with feedback."""
    g = torch.Generator().manual_seed(seed)
    x = (torch.rand(STEPS, BATCH, INPUTS, generator=g) < 0.3).double()
    w = 0.5 * torch.randn(NEURONS, INPUTS, generator=g, dtype=torch.float64)
    back = torch.randn(NEURONS, NEURONS, generator=g, dtype=torch.float64)
    target = torch.rand(STEPS, BATCH, NEURONS, generator=g, dtype=torch.float64)
    lif = partial(F.lif, beta=0.9, surrogate=SURROGATE)
    alif = partial(F.alif, beta=0.9, surrogate=SURROGATE, **ADAPTATION)
    fed_back = partial(F.recurrent, weight=back, neuron=lif)
    rho, kappa = ADAPTATION["rho"], ADAPTATION["kappa"]
    for word, neuron, values in (("LIF", lif, (0.0, 0.0)), ("ALIF", alif, (rho, kappa))):
        got = relative(*both(neuron, x, w, target, *values))
        yield Measured(f"{word}: relative difference from BPTT", got, most=1e-10)
    got = relative(*both(fed_back, x, w, target, 0.0, 0.0))
    yield Measured("LIF with feedback: relative difference from BPTT", got, least=1e-2)


def both(
    neuron: Any, x: Tensor, w: Tensor, target: Tensor, rho: float, kappa: float
) -> tuple[Tensor, Tensor]:
    """The gradient of W by e-prop and by BPTT, of the loss sum (s - target)^2/2."""
    w = w.clone().requires_grad_()
    s, _, trace = neuron(x @ w.T, trace=True)
    (exact,) = torch.autograd.grad(0.5 * (s - target).square().sum(), w)
    with torch.no_grad():
        signal, g = s - target, SURROGATE.derivative(trace.distance)
        eps_u = torch.zeros(x.shape[1], 1, x.shape[2], dtype=x.dtype)
        eps_a = torch.zeros(x.shape[1], *w.shape, dtype=x.dtype)
        found = torch.zeros_like(w)
        for t in range(len(x)):
            eps_u = 0.9 * eps_u + x[t][:, None]
            e = g[t][:, :, None] * (eps_u - kappa * eps_a)
            eps_a = rho * eps_a + e
            found += (signal[t][:, :, None] * e).sum(0)
    return found, exact


def relative(got: Tensor, want: Tensor) -> float:
    """The largest difference as a share of the largest value."""
    return float((got - want).abs().max() / want.abs().max())
