"""Surrogates by name: the built-in ones, their aliases and the user's own.

An alias is a name under which the literature knows a member of another family; asking for it gives
that member.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from spikegrad.errors import UserError, message, unknown
from spikegrad.surrogate.arguments import no_slope
from spikegrad.surrogate.built_in import FACTORIES
from spikegrad.surrogate.contract import verify
from spikegrad.surrogate.families import FAMILIES
from spikegrad.surrogate.family import Family, Figures
from spikegrad.surrogate.record import Surrogate

__all__ = ["get", "names", "register", "unregister"]


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
    if name in FACTORIES and name not in FAMILIES:
        return _alias(name, slope, options)
    if name not in FAMILIES:
        raise UserError(unknown("surrogate", name, names()))
    if slope is not None and not FAMILIES[name].has_slope:
        raise UserError(no_slope(name, slope))
    normalisation = options.pop("normalisation", "area")
    gain = options.pop("gain", 1.0)
    parameters = tuple(options.items())
    return Surrogate(name, slope, normalisation, gain, parameters=parameters)  # type: ignore[arg-type]


def names(*, aliases: bool = True) -> tuple[str, ...]:
    """All names that `get` knows, sorted.

    Args:
        aliases: whether to list names that stand for a member of another family.
    Returns:
        the names.

    >>> "arctan" in names(), "superspike" in names(aliases=False)
    (True, False)
    """
    return tuple(sorted({*FAMILIES, *(FACTORIES if aliases else ())}))


def register(
    name: str,
    derivative: Callable[[Tensor], Tensor],
    *,
    primitive: Callable[[Tensor], Tensor] | None = None,
    support: float | None = None,
    kinks: Iterable[float] = (),
    area: float = 1.0,
    source: str = "registered by the user",
    formula: str = "",
    default_slope: float = 1.0,
    replace_own: bool = False,
) -> Surrogate:
    """Add your own surrogate under a name, after checking that it is what you say.

    `g(x) = k p(k x)`: you give p and its primitive P at slope 1, the rest follows.

    `verify` runs first; a claim that does not hold leaves the registry as it was.

    Args:
        name: a new name, a Python identifier.
        derivative: p(z), elementwise, of differentiable torch operations.
        primitive: P(z) with P' = p; without it there is no soft mode and no slope gradient.
        support: half-width of the interval outside which p is exactly 0, inf with tails; None: it
            is found from p.
        kinks: every z at which p or p' jumps.
        area: the integral of p; inf where it does not converge.
        source: where it comes from.
        formula: p(z) as people write it.
        default_slope: the slope when none is given.
        replace_own: whether an earlier registration of that name may be replaced (not a built-in).
    Returns:
        the record with the default slope.
    Raises:
        UserError: a name that is taken or no identifier, or a claim that does not hold.
        TypeError: derivative or primitive that cannot be called.

    >>> import torch
    >>> p = lambda z: torch.clamp(1 - z * z, min=0) * 0.75
    >>> register("parabola", p, kinks=(-1, 1), source="Epanechnikov 1969")
    parabola(slope=1.0)
    >>> get("parabola", 2.0).peak
    1.5
    >>> unregister("parabola")
    """
    _check_name(name, replace_own)
    for kind, function in (("derivative", derivative), ("primitive", primitive)):
        if not (callable(function) or (kind == "primitive" and function is None)):
            raise TypeError(message(f"expected {kind} as a function of z", repr(function)))
    _check_numbers(support, area)
    family = Family(
        name=name,
        formula=formula or getattr(derivative, "__name__", "p(z)"),
        source=source,
        derivative=derivative,
        primitive=primitive,
        figures=Figures(support=None if support is None else float(support)),
        area=float(area),
        kinks=tuple(sorted(float(kink) for kink in kinks)),
        default_slope=default_slope,
    )
    earlier = FAMILIES.get(name)
    try:
        return _admit(family)
    except BaseException:  # nothing stays behind, whatever the user's function raised
        FAMILIES.pop(name, None)
        if earlier is not None:
            FAMILIES[name] = earlier
        raise


def unregister(name: str) -> None:
    """Take back a name that `register` gave.

    Args:
        name: a registered name.
    Raises:
        UserError: the name is unknown or built in.

    >>> unregister("arctan")
    Traceback (most recent call last):
        ...
    spikegrad.errors.UserError: expected a name given by register(), got 'arctan'
    """
    if name in FACTORIES or name not in FAMILIES:
        raise UserError(message("expected a name given by register()", repr(name)))
    del FAMILIES[name]


def _admit(family: Family) -> Surrogate:
    FAMILIES[family.name] = family
    record = Surrogate(family.name)
    verify(record)
    return record


def _check_name(name: str, replace_own: bool) -> None:
    if not (isinstance(name, str) and name.isidentifier()):
        raise UserError(message("expected a name that is a Python identifier", repr(name)))
    if name in FACTORIES or (name in FAMILIES and not replace_own):
        remedy = "" if name in FACTORIES else " or pass replace_own=True"
        raise UserError(
            message("expected a new name", f"{name!r}, which is taken", f"choose another{remedy}")
        )


def _check_numbers(support: float | None, area: float) -> None:
    if support is not None and not support > 0.0:
        raise UserError(message("expected support > 0", repr(support)))
    if math.isnan(area):
        raise UserError(message("expected area as a number or inf", repr(area)))


def _alias(name: str, slope: float | None, options: dict[str, Any]) -> Surrogate:
    factory = FACTORIES[name]
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
