"""How a file of `shapes/` says what it defines: one surrogate, or another name for one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.surrogate.families import FAMILIES
from spikegrad.surrogate.family import ClosedForm, Family, Figures, Interval
from spikegrad.surrogate.record import Surrogate

__all__ = ["FACTORIES", "alias", "built_in"]

FACTORIES: dict[str, Callable[..., Surrogate]] = {}
"""The public function of every built-in surrogate, and of every other name for one."""

_Factory = TypeVar("_Factory", bound=Callable[..., Surrogate])
_COMMON = ("slope", "normalisation", "gain")


def built_in(
    *,
    formula: str,
    source: str,
    derivative: Callable[..., Tensor],
    primitive: Callable[..., Tensor] | None = None,
    kinks: tuple[float, ...] = (),
    area: float = 1.0,
    peak: ClosedForm = None,
    fwhm: ClosedForm = None,
    lipschitz: ClosedForm = None,
    within: Mapping[str, Interval] | None = None,
) -> Callable[[_Factory], _Factory]:
    """Define a surrogate by its public function, which makes the record and is returned unchanged.

    Its name is the surrogate's; the default slope and the shape parameters with their defaults are
    those of its signature. A function without `slope` is one that no slope changes.

    Args:
        formula: p(z) in words of mathematics, z = slope * x.
        source: the paper that introduced it.
        derivative: p(z, **shape parameters) at slope 1: elementwise, differentiable, finite for |z|
            up to 1e4 in every float type.
        primitive: P with P' = p; without it there is no soft mode and no slope gradient.
        kinks: every z at which p or p' jumps.
        area: the integral of p; inf where it does not converge.
        peak, fwhm, lipschitz: closed forms at slope 1, numbers or functions of the shape
            parameters; what is not given is computed.
        within: the interval of each shape parameter, by default above 0.
    Raises:
        UserError: a name that is taken, a shape parameter without a default, an interval of none.
    """

    def define(factory: _Factory) -> _Factory:
        signature = inspect.signature(factory).parameters
        slope = signature["slope"].default if "slope" in signature else None
        defaults = {key: value.default for key, value in signature.items() if key not in _COMMON}
        _check_shape(factory, defaults, within or {})
        family = Family(
            name=factory.__name__,
            formula=formula,
            source=source,
            derivative=derivative,
            primitive=primitive,
            figures=Figures(peak, fwhm, lipschitz),
            area=area,
            kinks=kinks,
            default_slope=slope,
            parameters={key: (within or {}).get(key, Interval()) for key in defaults},
            defaults=defaults,
        )
        alias(factory)
        FAMILIES[family.name] = family
        return factory

    return define


def alias(factory: _Factory) -> _Factory:
    """Define a name under which the literature knows a member of another family.

    Args:
        factory: the function of that name, which returns the member's record.
    Returns:
        the same function.
    Raises:
        UserError: a name that is taken.
    """
    name = factory.__name__
    if name in FACTORIES:
        raise UserError(
            message(
                "expected every built-in surrogate under its own name",
                f"{name} in {FACTORIES[name].__module__} and in {factory.__module__}",
                "rename one of them",
            )
        )
    FACTORIES[name] = factory
    return factory


def _check_shape(
    factory: Callable[..., Surrogate],
    defaults: Mapping[str, object],
    within: Mapping[str, Interval],
) -> None:
    for key, value in defaults.items():
        if value is inspect.Parameter.empty:
            raise UserError(
                message(f"expected a default for {key} of {factory.__name__}", "none", "give one")
            )
    for key in within:
        if key not in defaults:
            raise UserError(
                message(
                    f"expected within= for shape parameters of {factory.__name__}",
                    repr(key),
                    f"its own are {', '.join(defaults) or 'none'}",
                )
            )
