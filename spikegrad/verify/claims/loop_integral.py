"""The surrogate field of a hard network is the gradient of nothing (`diagnose/loop.py`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from spikegrad.diagnose import loop_integral as integral
from spikegrad.surrogate import arctan, get, names
from spikegrad.verify.claim import Measured, claim

__all__ = ["loop_integral"]


@claim(
    statement="around a rectangle below the threshold the surrogate field of y = w2 H(w1 x - theta)"
    " integrates to t (d-c) [sigma(bx-theta) - sigma(ax-theta)], in soft mode to 0",
    source="Green's theorem; article 4.1, whose convergence it contradicts for hard spikes",
    remedy="run the check surrogates: the spike's derivative is not that of its primitive",
)
def loop_integral(seed: int) -> Iterator[Measured]:
    """Every surrogate around rectangles that the seed draws, all below the threshold."""
    g = torch.Generator().manual_seed(seed)
    for name in names(aliases=False):
        record = get(name)
        if not record.has_primitive:
            continue
        a, width, c, height, target = torch.rand(5, generator=g, dtype=torch.float64).tolist()
        theta, x = 1.0 + target, 0.5 + width
        high = theta / x * (0.5 + 0.45 * width)  # b x < theta
        path = (a * high * 0.8, high, c - 0.5, c - 0.5 + 0.5 + height)
        given = {"x": x, "theta": theta, "target": target + 0.5}
        ends = torch.tensor([path[0] * x - theta, path[1] * x - theta], dtype=torch.float64)
        low, top = record.primitive(ends).tolist()
        expected = given["target"] * (path[3] - path[2]) * (top - low)
        error = abs(integral(record, path, **given) - expected)
        yield Measured(f"{name}: |integral - formula|", error, most=1e-8)
        error = abs(integral(record.soft(), path, **given))
        yield Measured(f"{name}: |integral| in soft mode", error, most=1e-8)
    hard = abs(integral(arctan(2.0), (0.1, 0.9, -0.5, 1.5)))
    yield Measured("arctan: |integral|, a gradient would have 0", hard, least=0.3)
