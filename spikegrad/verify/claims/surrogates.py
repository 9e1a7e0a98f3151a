"""Every surrogate is what its record says: a derivative of a primitive, with its figures.

Closed forms meet numbers twice: through the contract that `register` asks of a user's surrogate
(quadrature, within 1e-6), and on a plain grid that shares no code with it (within 2e-3).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from spikegrad.surrogate import Surrogate, get, names, verify
from spikegrad.surrogate.contract import derivative_error
from spikegrad.verify.claim import Measured, claim

__all__ = ["surrogates"]

REACH, STEP = 20.0, 2e-4  # of the grid, in units of z = slope x
EXACT, COARSE = 1e-6, 2e-3
OTHER_SLOPE = 3.7


@claim(
    statement="g is the derivative of the primitive, and has the area, the peak, the width at half "
    "maximum and the Lipschitz constant that are stated",
    source="the record of each surrogate",
    remedy="name the surrogate in an issue; until then use another one",
)
def surrogates(seed: int) -> Iterator[Measured]:
    """Every surrogate by name, with its own slope and another one."""
    for name in names(aliases=False):
        record = get(name)
        yield from figures(record)
        if record.family.has_slope:
            yield from figures(record.with_slope(OTHER_SLOPE))


def figures(record: Surrogate) -> Iterator[Measured]:
    """All that is claimed of one record."""
    if record.has_primitive:
        error = derivative_error(record)[0]
        yield Measured(f"{record}: |primitive' - g| / peak", error, most=EXACT)
    stated = record.properties()
    for what, got in on_a_grid(record).items():
        error = apart(getattr(stated, what), got)
        yield Measured(f"{record}: relative error of {what}", error, most=COARSE)
    if record.has_primitive and math.isfinite(record.area):
        ends = torch.tensor([-1e9, 1e9], dtype=torch.float64)
        error = apart(stated.area, float(record.primitive(ends).diff()))
        yield Measured(f"{record}: relative error of area", error, most=EXACT)
    verify(record)


def on_a_grid(record: Surrogate) -> dict[str, float]:
    """Peak, width and Lipschitz constant from the values on a grid alone."""
    z = torch.arange(-REACH, REACH, STEP, dtype=torch.float64)
    g, h = record.derivative(z / record.slope), STEP / record.slope
    top = g.abs().max()
    flat = bool(g[0].abs() >= 0.5 * top)
    wide = math.inf if flat else float((g.abs() >= 0.5 * top).sum()) * h
    return {"peak": float(top), "fwhm": wide, "lipschitz": steepest(record, g, h)}


def steepest(record: Surrogate, g: Tensor, h: float) -> float:
    """The largest |g'|; inf where g jumps: a smooth step of the grid is far below the peak."""
    change = float(g.diff().abs().max())
    return math.inf if change > 0.1 * record.peak else change / h


def apart(stated: float, got: float) -> float:
    """The relative difference of two figures, 0 where they are equal, as two infinities are."""
    return 0.0 if stated == got else abs(got - stated) / max(abs(stated), 1e-300)
