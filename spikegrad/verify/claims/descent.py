"""Theorem 4.1 of the article where it is true: gradient descent in soft mode.

With L the Lipschitz constant of the gradient, steps of eta < 2/L never ascend, and after K of them

    min |grad|^2 <= (f0 - f*) / (K eta (1 - eta L/2))

Two problems whose L is known exactly: one neuron with its threshold below the input, of which the
curvature is largest at the minimum, and a readout of soft LIF spikes, whose loss is quadratic.
Source: Nesterov (2004), Introductory Lectures on Convex Optimization, section 1.2.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from spikegrad import functional as F
from spikegrad.surrogate import Surrogate, arctan, spike
from spikegrad.verify.claim import Measured, claim

__all__ = ["Problem", "descent", "neuron", "readout", "walk"]

STEPS = 400
SLOPE = 2.0


@dataclass(frozen=True)
class Problem:
    """A loss of weights, its Lipschitz constant, its lowest value, and a start that has the
    steepest direction in it.
    """

    loss: Callable[[Tensor], Tensor]
    lipschitz: float
    lowest: float
    start: Tensor


@claim(
    statement="in soft mode steps of 1.9/L never ascend and meet the bound (f0 - f*)/(K eta (1 - "
    "eta L/2)) on min |grad|^2; steps of 2.5/L ascend",
    source="article 4.1; Nesterov 2004, section 1.2.3",
    remedy="run the checks surrogates and gradients: one of them says which gradient is wrong",
)
def descent(seed: int) -> Iterator[Measured]:
    """Both problems, below and above the limit of the step."""
    for words, problem in (("neuron", neuron()), ("readout", readout(seed))):
        scale = float(problem.loss(problem.start)) - problem.lowest
        eta = 1.9 / problem.lipschitz
        rise, smallest = walk(problem, eta)
        bound = scale / (STEPS * eta * (1.0 - problem.lipschitz * eta / 2.0))
        ascent = f"{words}: largest ascent of {STEPS} steps of"
        yield Measured(f"{ascent} 1.9/L / f0", rise / scale, most=1e-12)
        yield Measured(f"{words}: min |grad|^2 / its bound", smallest / bound, most=1.0)
        rise, smallest = walk(problem, 2.5 / problem.lipschitz)
        yield Measured(f"{ascent} 2.5/L / f0", rise / scale, least=1e-2)
        yield Measured(f"{words}: min |grad|^2 of 2.5/L / bound", smallest / bound, least=1.0)


def walk(problem: Problem, eta: float, steps: int = STEPS) -> tuple[float, float]:
    """The largest ascent of some steps of gradient descent, and the smallest |gradient|^2."""
    w, rise, smallest = problem.start, -math.inf, math.inf
    for _ in range(steps):
        w = w.detach().requires_grad_()
        before = problem.loss(w)
        (gradient,) = torch.autograd.grad(before, w)
        with torch.no_grad():
            w = w - eta * gradient
            rise = max(rise, float(problem.loss(w) - before))
        smallest = min(smallest, float(gradient.square().sum()))
        if not math.isfinite(rise):
            break  # it has left every bound
    return rise, smallest


def neuron() -> Problem:
    """(G(w - 1) - 1/2)^2/2 for arctan: |f''| is at most (slope/pi)^2, reached at the minimum."""
    soft = arctan(SLOPE).soft()

    def loss(w: Tensor) -> Tensor:
        return 0.5 * (spike(w - 1.0, soft) - 0.5).square().sum()

    start = torch.tensor([1.05], dtype=torch.float64)
    return Problem(loss, (SLOPE / math.pi) ** 2, 0.0, start)


def readout(seed: int, surrogate: Surrogate = arctan(SLOPE)) -> Problem:  # noqa: B008  (immutable)
    """mean (s w - t)^2/2 of spikes s [n, 6] of soft LIF neurons: L is the largest eigenvalue of
    s's/n. The start is one unit from the minimum, along that eigenvector.
    """
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(10, 8, 6, generator=g, dtype=torch.float64)
    s = F.lif(x, beta=0.8, surrogate=surrogate.soft(), detach_reset=False)[0].reshape(-1, 6)
    t = torch.randn(len(s), generator=g, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(s.T @ s / len(t))
    best = torch.linalg.lstsq(s, t[:, None]).solution[:, 0]

    def loss(w: Tensor) -> Tensor:
        return 0.5 * (s @ w - t).square().mean()

    return Problem(loss, float(values[-1]), float(loss(best)), best + vectors[:, -1])
