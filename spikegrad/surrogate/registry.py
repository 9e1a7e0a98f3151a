"""Surrogates by name: the built-in ones, their aliases and the user's own.

An alias is a name under which the literature knows a member of another family; asking for it gives
that member.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from spikegrad.errors import UserError, message, unknown
from spikegrad.surrogate import factories
from spikegrad.surrogate.families import FAMILIES
from spikegrad.surrogate.record import Surrogate

__all__ = ["get", "names"]

_ALIASES: dict[str, Callable[..., Surrogate]] = {
    "clipped_straight_through": factories.clipped_straight_through,
    "superspike": factories.superspike,
    "tanh": factories.tanh,
}


def get(name: str, slope: float | None = None, **options: Any) -> Surrogate:
    """The surrogate of that name.

    Args:
        name: one of `names()`.
        slope: k (1/unit of x), larger is sharper; None for the default of that surrogate.
        options: `normalisation` ("area" or "peak"), `gain`, and its shape parameters.
    Returns:
        the record; for an alias the record that it is.
    Raises:
        UserError: an unknown name (lists the close ones), a bad slope, option or value.

    >>> get("superspike", slope=10.0)
    fast_sigmoid(slope=10.0, normalisation='peak')
    """
    if name in _ALIASES:
        return _alias(name, slope, options)
    if name not in FAMILIES:
        raise UserError(unknown("surrogate", name, names()))
    normalisation = options.pop("normalisation", "area")
    gain = options.pop("gain", 1.0)
    return Surrogate(
        name,
        slope,  # type: ignore[arg-type]
        normalisation,
        gain,
        parameters=tuple(options.items()),
    )


def names(*, aliases: bool = True) -> tuple[str, ...]:
    """All names that `get` knows, sorted.

    Args:
        aliases: whether to list names that stand for a member of another family.
    Returns:
        the names.

    >>> "arctan" in names(), "superspike" in names(aliases=False)
    (True, False)
    """
    return tuple(sorted([*FAMILIES, *(_ALIASES if aliases else ())]))


def _alias(name: str, slope: float | None, options: dict[str, Any]) -> Surrogate:
    factory = _ALIASES[name]
    known = inspect.signature(factory).parameters
    if options.get("normalisation") == "peak" and "normalisation" not in known:
        options = {key: value for key, value in options.items() if key != "normalisation"}
    for key in options:
        if key == "normalisation" and key not in known:
            raise UserError(
                message(
                    f"expected {name} in peak normalisation",
                    repr(options[key]),
                    f"the family in area normalisation is {factory().name!r}",
                )
            )
        if key not in known:
            raise UserError(unknown("shape parameter", key, known))
    return factory(**options) if slope is None else factory(slope, **options)
