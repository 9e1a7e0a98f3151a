"""The contract of a surrogate: what every record claims, checked by numbers.

Built-in families and a user's own pass the same checks; `register` runs them before a name is
taken.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.surrogate import measure
from spikegrad.surrogate.properties import MEASURES, curve_of, properties
from spikegrad.surrogate.record import Surrogate

__all__ = ["derivative_error", "verify"]

_STEP = 1e-3  # of the central difference, in units of z: its error is below 1e-9
_TOLERANCE = 1e-6


def verify(surrogate: Surrogate) -> None:
    """Check that a surrogate is what its record says.

    Finite up to |x| = 1e4 in every float type; `G' = g` away from the kinks; exactly 0 outside the
    support and not inside; continuous between its kinks; area and closed forms as stated.

    Args:
        surrogate: any record.
    Raises:
        UserError: the first claim that does not hold, with the place or the measured figure.
        TypeError: the derivative or the primitive returns no tensor.

    >>> from spikegrad.surrogate import arctan
    >>> verify(arctan(2.0))
    """
    with torch.inference_mode(False), torch.no_grad():
        _check_values(surrogate)
        _check_support(surrogate)
        _check_kinks(surrogate)
        _check_figures(surrogate)
        if surrogate.has_primitive:
            _check_primitive(surrogate)
        _check_area(surrogate)


def _check_values(surrogate: Surrogate) -> None:
    far = torch.tensor([-1e4, -1e3, -1.0, 0.0, 1.0, 1e3, 1e4], dtype=torch.float64)
    wide = torch.cat((far, torch.linspace(-20.0, 20.0, 801, dtype=torch.float64)))
    functions = {"derivative": surrogate.derivative}
    if surrogate.has_primitive:
        functions["primitive"] = surrogate.primitive
    for kind, function in functions.items():
        for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
            if dtype == torch.float16 and kind == "primitive" and math.isinf(surrogate.area):
                continue  # an unbounded primitive may exceed 65504
            x = wide.to(dtype)
            value = function(x)
            if not isinstance(value, Tensor) or value.shape != x.shape:
                got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise UserError(_failed(surrogate, f"{kind}(x) of the shape of x", str(got)))
            if not bool(value.isfinite().all()):
                place = x[~value.isfinite()][0].item()
                raise UserError(
                    _failed(surrogate, f"a finite {kind} for |x| <= 1e4 in {dtype}", f"x={place:g}")
                )


def _check_support(surrogate: Surrogate) -> None:
    support = surrogate.support
    if math.isinf(support):
        return
    beyond = support * torch.tensor([1.0 + 1e-6, 1.01, 2.0, 100.0], dtype=torch.float64)
    outside = torch.cat((beyond, -beyond))
    if bool((surrogate.derivative(outside) != 0).any()):
        raise UserError(
            _failed(surrogate, f"a derivative of 0 beyond the support {support:g}", "another value")
        )
    within = support * torch.linspace(0.99, 1.0 - 1e-6, 101, dtype=torch.float64)
    inside = surrogate.derivative(torch.cat((within, -within)))
    if not bool((inside != 0).any()):
        raise UserError(
            _failed(
                surrogate,
                f"a derivative other than 0 up to the support {support:g}",
                "0 well inside",
                "give the smaller support=",
            )
        )


def _check_kinks(surrogate: Surrogate) -> None:
    grid = torch.linspace(-8.0, 8.0, 32001, dtype=torch.float64)
    kinks = torch.tensor(surrogate.family.kinks, dtype=torch.float64)
    value = surrogate.derivative(grid / surrogate.slope)
    # Halving a smooth interval halves its change; a jump keeps it.
    change = value.diff().abs()
    middle = surrogate.derivative((grid[1:] + grid[:-1]) / 2 / surrogate.slope)
    largest = torch.maximum((middle - value[:-1]).abs(), (value[1:] - middle).abs())
    jump = (change > 1e-2 * surrogate.peak) & (largest > 0.9 * change)
    for place in grid[:-1][jump].tolist():
        if not bool(((kinks - place).abs() < 1e-3).any()):
            raise UserError(
                _failed(surrogate, "a continuous derivative between its kinks", f"z={place:.4g}")
            )


def _check_figures(surrogate: Surrogate) -> None:
    """Every closed form against a number."""
    stated, shape = properties(surrogate), dict(surrogate.parameters)
    for name, measured in MEASURES.items():
        if surrogate.family.figures.value(name, shape) is None:
            continue
        expected, got = getattr(stated, name), measured(curve_of(surrogate))
        if not math.isclose(expected, got, rel_tol=_TOLERANCE):
            raise UserError(_failed(surrogate, f"a {name} of {expected:g}", f"{got:g}"))


def derivative_error(surrogate: Surrogate) -> tuple[float, float, float]:
    """Where and how far the derivative is not that of the primitive, away from the kinks.

    Args:
        surrogate: a record with a primitive.
    Returns:
        the largest difference from a finite difference, as a share of the peak; the place
        `z = slope x` of it; the finite difference there.

    >>> from spikegrad.surrogate import arctan
    >>> derivative_error(arctan(2.0))[0] < 1e-8
    True
    """
    z = torch.linspace(-8.013, 8.007, 4001, dtype=torch.float64)
    for kink in surrogate.family.kinks:
        z = z[(z - kink).abs() > 3 * _STEP]
    h = _STEP / surrogate.slope
    x = z / surrogate.slope
    near = surrogate.primitive(x + h) - surrogate.primitive(x - h)
    far = surrogate.primitive(x + 2 * h) - surrogate.primitive(x - 2 * h)
    numeric = (8.0 * near - far) / (12.0 * h)
    error = (numeric - surrogate.derivative(x)).abs() / surrogate.peak
    worst = int(error.argmax())
    return float(error[worst]), float(z[worst]), float(numeric[worst])


def _check_primitive(surrogate: Surrogate) -> None:
    error, z, numeric = derivative_error(surrogate)
    if not error <= _TOLERANCE:
        x = torch.tensor(z / surrogate.slope, dtype=torch.float64)
        raise UserError(
            _failed(
                surrogate,
                f"primitive' = derivative = {float(surrogate.derivative(x)):.6g} at z={z:.4g}",
                f"primitive' = {numeric:.6g}",
                "name every z where the derivative bends or jumps in kinks=, or correct either",
            )
        )


def _check_area(surrogate: Surrogate) -> None:
    if math.isinf(surrogate.area):
        return
    area = measure.area(curve_of(surrogate))
    if not math.isclose(area, surrogate.area, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
        raise UserError(
            _failed(surrogate, f"an area of {surrogate.area:g}", f"{area:.9g}", "give it as area=")
        )


def _failed(surrogate: Surrogate, expected: str, got: str, remedy: str = "") -> str:
    return f"surrogate {surrogate.name!r}: " + message(f"expected {expected}", got, remedy)
