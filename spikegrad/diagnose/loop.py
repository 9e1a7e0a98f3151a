"""Is the surrogate field a gradient? The article's theorem 4.1, tested on its smallest network.

One hidden neuron, `y = w2 H(w1 x - theta)`, with loss `(y - t)^2/2`. Were the field F that
surrogate learning follows the gradient of anything, its integral around every closed path would be
0. Around the rectangle [a, b] x [c, d] of (w1, w2), with the threshold outside (b x < theta),

    loop integral = t (d - c) [sigma(b x - theta) - sigma(a x - theta)]

where sigma is the surrogate's primitive; and with the threshold anywhere, by Green's theorem,

    t (d-c) D - (d^2-c^2) D+ + [(d^2-c^2)/2 - t (d-c)] [H(b x - theta) - H(a x - theta)],
    D = sigma(b x - theta) - sigma(a x - theta),   D+ the same with max(0, .) inside.

In soft mode, where the forward pass is sigma, F is a gradient and every loop integral is 0.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from spikegrad.checks import check_positive
from spikegrad.errors import UserError, message
from spikegrad.surrogate import Surrogate, spike

__all__ = ["loop_closed_form", "loop_integral"]

Rectangle = tuple[float, float, float, float]


def loop_integral(
    surrogate: Surrogate,
    rectangle: Rectangle,
    *,
    x: float = 1.0,
    theta: float = 1.0,
    target: float = 1.0,
    points: int = 48,
) -> float:
    """Integrate the surrogate field once around a rectangle, counter-clockwise, from autograd.

    surrogate: a record, hard or soft; rectangle: (a, b, c, d), w1 in [a, b] and w2 in [c, d];
    x: the input, above 0; theta: the threshold; target: t; points: Gauss-Legendre nodes per piece
    (the sides are cut where the surrogate has kinks). Everything is float64.
    Raises UserError for an empty rectangle or x <= 0.

    >>> from spikegrad.surrogate import arctan
    >>> below = (0.0, 0.8, 0.5, 1.5)        # [atan(-0.4) - atan(-2)]/pi = 0.231297
    >>> round(loop_integral(arctan(2.0), below), 6)
    0.231297
    >>> abs(loop_integral(arctan(2.0).soft(), below)) < 1e-9
    True
    """
    a, b, c, d = checked(rectangle, x)
    kinks = (0.0, *(k / surrogate.slope for k in surrogate.family.kinks))
    stops = sorted({a, b, *(w for k in kinks if a < (w := (theta + k) / x) < b)})

    def work(w1: Tensor, w2: Tensor, axis: int) -> Tensor:
        return field(surrogate, w1, w2, x=x, theta=theta, target=target)[axis]

    total = 0.0
    for low, high in pairwise(stops):
        w1, weight = nodes(low, high, points)
        for side, sign in ((c, 1.0), (d, -1.0)):
            total += sign * float((weight * work(w1, torch.full_like(w1, side), 0)).sum())
    w2, weight = nodes(c, d, points)
    for side, sign in ((b, 1.0), (a, -1.0)):
        total += sign * float((weight * work(torch.full_like(w2, side), w2, 1)).sum())
    return total


def loop_closed_form(
    surrogate: Surrogate,
    rectangle: Rectangle,
    *,
    x: float = 1.0,
    theta: float = 1.0,
    target: float = 1.0,
) -> float:
    """What `loop_integral` is for a hard surrogate, by the formula on top of this file.

    >>> from spikegrad.surrogate import boxcar
    >>> loop_closed_form(boxcar(1.0), (0.5, 0.75, 0.0, 2.0), target=3.0)
    0.75
    """
    a, b, c, d = checked(rectangle, x)
    ends = torch.tensor([a, b], dtype=torch.float64) * x - theta
    below = surrogate.primitive(ends).diff()
    beyond = surrogate.primitive(ends.clamp(min=0.0)).diff()
    step = (ends >= 0).double().diff()
    height, squares = target * (d - c), d * d - c * c
    return float(height * below - squares * beyond + (squares / 2 - height) * step)


def field(
    surrogate: Surrogate, w1: Tensor, w2: Tensor, *, x: float, theta: float, target: float
) -> tuple[Tensor, Tensor]:
    """What autograd returns for both weights, at many points of the plane at once."""
    with torch.enable_grad():
        w1, w2 = w1.detach().requires_grad_(), w2.detach().requires_grad_()
        y = w2 * spike(w1 * x - theta, surrogate)
        return torch.autograd.grad((0.5 * (y - target) ** 2).sum(), (w1, w2))  # type: ignore[return-value]


def nodes(low: float, high: float, points: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [low, high]."""
    place, weight = np.polynomial.legendre.leggauss(points)
    half = 0.5 * (high - low)
    return torch.from_numpy(low + half * (1.0 + place)), torch.from_numpy(half * weight)


def checked(rectangle: Rectangle, x: float) -> Rectangle:
    """A rectangle with an inside, and an input that keeps the order of its sides."""
    a, b, c, d = rectangle
    if not (a < b and c < d):
        raise UserError(message("expected a rectangle (a, b, c, d), a < b, c < d", str(rectangle)))
    check_positive(x, "x")
    return a, b, c, d
