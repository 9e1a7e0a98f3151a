"""Slopes and normalisations that make surrogates equal in area, peak or width.

A surrogate `g(x) = gain * k p(kx)` has a height and a width to choose, so at most two of its three
figures can be those of another one. With p of slope 1, A its area, P its peak and W its full width
at half maximum, and `k` the slope of the first surrogate (r), the slope of another one (s) is

| equal | height | slope |
|---|---|---|
| nothing | each its own normalisation | k |
| area | area normalisation: the area is A_s = 1 | k |
| peak | peak normalisation: the peak is 1 | k |
| fwhm | each its own normalisation | k W_s / W_r |
| area, fwhm | area normalisation | k W_s / W_r |
| peak, fwhm | peak normalisation | k W_s / W_r |
| area, peak | area normalisation | k P_r / P_s |

since the width is W/k, and the peak in area normalisation P k.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from spikegrad.errors import UserError, message, unknown
from spikegrad.surrogate import get
from spikegrad.surrogate.record import Surrogate

__all__ = ["EQUAL", "check_equal", "matched"]

EQUAL = ("area", "peak", "fwhm")


def check_equal(equal: str | Iterable[str] | None) -> tuple[str, ...]:
    """What shall be equal: none, one or two of area, peak and fwhm.

    Raises:
        UserError: another word, one twice, or all three.

    >>> check_equal("fwhm,area")
    ('area', 'fwhm')
    """
    words = equal.split(",") if isinstance(equal, str) else list(equal or ())
    wanted = [word.strip() for word in words if word.strip()]
    for word in wanted:
        if word not in EQUAL:
            raise UserError(unknown("quantity to be equal", word, EQUAL))
    if len(wanted) != len(set(wanted)):
        raise UserError(message("expected each quantity once for equal", ", ".join(wanted)))
    if len(wanted) > 2:
        expected = "expected at most two of area, peak and fwhm to be equal"
        remedy = "a surrogate has a height and a width to choose; omit one of them"
        raise UserError(message(expected, "all three", remedy))
    return tuple(word for word in EQUAL if word in wanted)


def matched(
    surrogates: Sequence[str],
    slopes: Sequence[float] | None = None,
    equal: str | Iterable[str] | None = None,
    *,
    normalisation: str | None = None,
) -> list[dict[str, Any]]:
    """The settings of every surrogate at every slope.

    Args:
        surrogates: names; the others are matched to the first.
        slopes: of the first one, k (1/unit of x), positive; None: its own default, and without
            `equal` the own default of each.
        equal: what shall be equal, see the table above.
        normalisation: where `equal` does not choose it; None for the own one of each.
    Returns:
        `[{"surrogate", "slope", "surrogate_normalisation"}]`, the last two only where they are
        chosen; the slopes of the first surrogate in the outer loop.
    Raises:
        UserError: an unknown name, a slope that is not positive, a surrogate without slope, or one
            whose area or width is infinite.

    >>> [found["slope"] for found in matched(["arctan", "triangle"], [2.0], "area,fwhm")]
    [2.0, 1.0]
    """
    wanted = check_equal(equal)
    if "area" in wanted or "peak" in wanted:
        normalisation = "area" if "area" in wanted else "peak"
    options: dict[str, Any] = {}
    if normalisation is not None:
        options["normalisation"] = normalisation
    records = [_record(name, options, wanted) for name in surrogates]
    first = records[0]
    given = list(slopes) if slopes is not None else [None]
    if given == [None] and wanted and first.family.has_slope:
        given = [get(surrogates[0], **options).slope / _step(surrogates[0], options)]
    found = []
    for k in given:
        for name, record in zip(surrogates, records, strict=True):
            settings: dict[str, Any] = {"surrogate": name}
            if k is not None:
                settings["slope"] = _slope(k, name, record, first, wanted)
                get(name, settings["slope"], **options)
            if normalisation is not None:
                settings["surrogate_normalisation"] = normalisation
            found.append(settings)
    return found


def _step(name: str, options: dict[str, Any]) -> float:
    """The slope of the record of a name at slope 1: 2 for tanh, which is sigmoid(2k)."""
    return get(name, 1.0, **options).slope


def _record(name: str, options: dict[str, Any], wanted: tuple[str, ...]) -> Surrogate:
    """A surrogate at slope 1, where it has one; its figures are what is matched."""
    default = get(name, **options)
    record = get(name, 1.0, **options) if default.family.has_slope else default
    if not record.family.has_slope and wanted:
        got, remedy = f"{name}, which has none", f"compare {name} without --equal, or omit it"
        expected = f"expected surrogates with a slope for equal {' and '.join(wanted)}"
        raise UserError(message(expected, got, remedy))
    if "area" in wanted and not math.isfinite(record.area):
        expected = "expected surrogates of finite area for equal area"
        raise UserError(message(expected, name, "use --equal peak, or omit it"))
    return record


def _slope(
    k: float, name: str, record: Surrogate, first: Surrogate, wanted: tuple[str, ...]
) -> float:
    """The slope of a surrogate that stands beside the first one at slope k."""
    if record is first:
        return float(k)
    factor = 1.0
    if "fwhm" in wanted:
        factor = record.properties().fwhm / first.properties().fwhm
    elif wanted == ("area", "peak"):
        factor = first.peak / record.peak
    if not (math.isfinite(factor) and factor > 0):
        raise UserError(message("expected surrogates of finite width for equal fwhm", name))
    return float(f"{k * factor:.6g}")  # a name that people can read; equal to a millionth
