"""The reset's gradient, attached and detached, written down by hand for LIF.

With lambda[t] the gradient of the membrane before the reset, g the surrogate's derivative,

    lambda[t] = g[t] e[t] + beta lambda[t+1] dv[t]/du[t],      e = dloss/ds

    dv/du      detached    attached
    subtract   1           1 - g (theta - v_rest)
    zero       1 - s       1 - s + g (v_reset - u)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spikegrad import functional as F
from spikegrad.surrogate import arctan
from spikegrad.verify.claim import Measured, claim

__all__ = ["resets"]

STEPS, BATCH, NEURONS, STEP = 15, 2, 4, 1e-4
QUANTITIES: dict[str, Any] = {"beta": 0.8, "threshold": 1.1, "v_rest": 0.1, "v_reset": -0.2}


@claim(
    statement="attached, the gradient goes through the reset's spike, and in soft mode is a finite "
    "difference; detached, the reset's spike is a constant",
    source="Zenke & Vogels 2021, Neural Computation 33(4); the recursion of LIF by hand",
    remedy="use detach_reset=True with reset='subtract' until it is repaired; name it in an issue",
)
def resets(seed: int) -> Iterator[Measured]:
    """Both resets, both ways, with hard and soft spikes."""
    g = torch.Generator().manual_seed(seed)
    x = 1.5 * torch.rand(STEPS, BATCH, NEURONS, generator=g, dtype=torch.float64)
    e = torch.rand(STEPS, BATCH, NEURONS, generator=g, dtype=torch.float64)
    for reset in ("subtract", "zero"):
        both = []
        for detached in (True, False):
            word = f"{reset}, {'detached' if detached else 'attached'}"
            for mode, surrogate in (("hard", arctan(2.0)), ("soft", arctan(2.0).soft())):
                how = {"reset": reset, "detach_reset": detached, "surrogate": surrogate}
                got = gradient(x, e, how)
                error = relative(got, by_hand(x, e, how))
                yield Measured(f"{word}, {mode}: relative error", error, most=1e-10)
            both.append(got)
            if not detached:
                error = relative(got, differences(x, e, how))
                yield Measured(f"{word}, soft: error of the difference", error, most=1e-6)
        yield Measured(f"{reset}: what detaching changes", relative(*both), least=1e-3)


def gradient(x: Tensor, e: Tensor, how: dict[str, Any]) -> Tensor:
    """The gradient of sum e s for the input, by autograd."""
    x = x.clone().requires_grad_()
    s = F.lif(x, **QUANTITIES, **how)[0]
    return torch.autograd.grad((s * e).sum(), x)[0]


def by_hand(x: Tensor, e: Tensor, how: dict[str, Any]) -> Tensor:
    """The same by the recursion on top of this file, back in time."""
    s, _, trace = F.lif(x, **QUANTITIES, **how, trace=True)
    g, u = how["surrogate"].derivative(trace.distance), trace.membrane
    through = torch.zeros_like(g) if how["detach_reset"] else g
    if how["reset"] == "subtract":
        passed = 1.0 - through * (QUANTITIES["threshold"] - QUANTITIES["v_rest"])
    else:
        passed = 1.0 - s + through * (QUANTITIES["v_reset"] - u)
    found = torch.zeros_like(x)
    later = torch.zeros_like(x[0])
    for t in reversed(range(len(x))):
        later = g[t] * e[t] + QUANTITIES["beta"] * later * passed[t]
        found[t] = later
    return found


def differences(x: Tensor, e: Tensor, how: dict[str, Any]) -> Tensor:
    """Central differences of sum e s; neurons and samples are independent, so all at once."""
    found = torch.zeros_like(x)
    for t in range(len(x)):
        h = torch.zeros_like(x)
        h[t] = STEP
        above, below = (F.lif(x + k * h, **QUANTITIES, **how)[0] for k in (1, -1))
        found[t] = ((above - below) * e).sum(0) / (2 * STEP)
    return found


def relative(got: Tensor, want: Tensor) -> float:
    """The largest difference as a share of the largest value."""
    return float((got - want).abs().max() / want.abs().max())
