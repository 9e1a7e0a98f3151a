"""The guards of a surrogate's arguments: what a user typed, checked once, at construction."""

from __future__ import annotations

import math
import numbers

from torch import Tensor

from spikegrad.errors import UserError, message, unknown
from spikegrad.surrogate.family import Family

__all__ = ["check_choice", "check_parameters", "check_positive", "check_slope", "no_slope"]


def check_slope(family: Family, slope: object) -> float:
    if family.default_slope is not None:
        return check_positive("slope", family.default_slope if slope is None else slope)
    if slope is None or slope == 1.0:  # 1.0 is what the record itself stores
        return 1.0
    raise UserError(no_slope(family.name, slope))


def no_slope(name: str, slope: object) -> str:
    return message(f"expected no slope for {name}", repr(slope), "its derivative is constant")


def check_choice(kind: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(unknown(kind, value, known))


def check_positive(kind: str, value: object) -> float:
    number = _number(kind, value)
    if not (math.isfinite(number) and number > 0.0):
        raise UserError(message(f"expected {kind} finite and positive", repr(value)))
    return number


def _number(kind: str, value: object) -> float:
    if isinstance(value, Tensor):
        raise TypeError(
            message(
                f"expected {kind} as a number",
                "a tensor",
                "for a learned slope use spike(x, surrogate, slope=tensor)",
            )
        )
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(message(f"expected {kind} as a number", repr(value)))
    return float(value)


def check_parameters(family: Family, given: dict[str, float]) -> tuple[tuple[str, float], ...]:
    for key in given:
        if key not in family.parameters:
            known = ", ".join(family.parameters) or "none"
            raise UserError(
                unknown("shape parameter", key, family.parameters)
                if family.parameters
                else message(f"expected no shape parameter for {family.name}", f"{key!r}", known)
            )
    pairs = []
    for key, interval in sorted(family.parameters.items()):
        value = _number(key, given.get(key, family.defaults[key]))
        if not (math.isfinite(value) and interval.admits(value)):
            raise UserError(message(f"expected {key} in {interval}", repr(value)))
        pairs.append((key, value))
    return tuple(pairs)
