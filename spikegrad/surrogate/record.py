"""The surrogate record: an immutable value that names a family and scales it.

With k the slope, p the family's derivative of unit slope and P its primitive,

    g(x) = gain * k p(k x),   G(x) = gain * P(k x)          (area normalisation)
    g(x) = gain * p(k x) / max|p|,   G(x) = its primitive   (peak normalisation)
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.surrogate.arguments import (
    check_choice,
    check_parameters,
    check_positive,
    check_slope,
    no_slope,
)
from spikegrad.surrogate.families import find
from spikegrad.surrogate.family import Family

if TYPE_CHECKING:
    from spikegrad.surrogate.properties import Properties

__all__ = ["Mode", "Normalisation", "Surrogate"]

Normalisation = Literal["area", "peak"]
Mode = Literal["hard", "soft"]

_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, repr=False)
class Surrogate:
    """A surrogate derivative with its primitive, slope, normalisation and gain.

    `g(x) = gain * k p(k x)`, where x = u - theta and a larger slope k is sharper.

    Args:
        name: the family.
        slope: k (1/unit of x), finite and positive; None for the family's default.
        normalisation: "area" (unit area where the area is finite) or "peak" (maximum 1).
        gain: a factor on derivative and primitive, finite and positive.
        mode: "hard" (the forward pass is a step) or "soft" (it is the primitive).
        parameters: shape parameters as sorted pairs; missing ones take their default.
    Raises:
        UserError: an unknown name, a bad slope, gain, parameter, normalisation or mode.
        TypeError: a slope, gain or parameter that is no number.

    >>> Surrogate("arctan", 2.0)
    arctan(slope=2.0)
    """

    name: str
    slope: float = None  # type: ignore[assignment]  # None is replaced by the family's default
    normalisation: Normalisation = "area"
    gain: float = 1.0
    mode: Mode = "hard"
    parameters: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        family = find(self.name)
        slope = check_slope(family, self.slope)
        check_choice("normalisation", self.normalisation, get_args(Normalisation))
        check_choice("mode", self.mode, get_args(Mode))
        gain = check_positive("gain", self.gain)
        parameters = check_parameters(family, dict(self.parameters))
        for key, value in (("slope", slope), ("gain", gain), ("parameters", parameters)):
            object.__setattr__(self, key, value)
        if self.mode == "soft":
            self._need_primitive("soft mode")
        self._unit_peak()  # where it is computed: now, since torch.compile cannot trace that

    # -- what it is -------------------------------------------------------------------------

    @property
    def family(self) -> Family:
        """The definition behind the name.

        >>> Surrogate("boxcar").family.kinks
        (-1.0, 1.0)
        """
        return find(self.name)

    @property
    def source(self) -> str:
        """The paper it comes from.

        >>> Surrogate("q_pseudospike").source
        'Herranz-Celotti & Rouat 2022, arXiv:2202.00282'
        """
        return self.family.source

    @property
    def formula(self) -> str:
        """The derivative at slope 1, area normalisation and gain 1, as a function of z = slope * x.

        >>> Surrogate("triangle").formula
        'max(0, 1 - |z|)'
        """
        return self.family.formula

    @property
    def has_primitive(self) -> bool:
        """Whether there is a primitive, and with it a soft mode and a slope gradient.

        >>> Surrogate("gaussian").has_primitive
        True
        """
        return self.family.primitive is not None

    @property
    def support(self) -> float:
        """The half-width (units of x) outside which the derivative is exactly 0; inf with tails.

        >>> Surrogate("triangle", 4.0).support
        0.25
        """
        return self.family.support(**dict(self.parameters)) / self.slope

    @property
    def peak(self) -> float:
        """The largest |g|.

        >>> Surrogate("sigmoid", 4.0).peak
        1.0
        """
        return float(self._amplitude(self.slope)) * self._unit_peak()

    @property
    def area(self) -> float:
        """The integral of g over all x, exact; inf where it does not converge.

        >>> Surrogate("fast_sigmoid", 10.0, "peak").area
        0.2
        """
        return float(self._amplitude(self.slope)) * self.family.area / self.slope

    def properties(self) -> Properties:
        """Peak, FWHM, area, tail and Lipschitz constant: closed forms where the family has them,
        else computed from the derivative in float64.

        >>> round(Surrogate("arctan", 2.0).properties().fwhm, 6)
        1.0
        """
        from spikegrad.surrogate.properties import properties

        return properties(self)

    # -- variants -----------------------------------------------------------------------------

    def soft(self) -> Surrogate:
        """The same surrogate with the primitive in the forward pass.

        >>> Surrogate("arctan", 2.0).soft()
        arctan(slope=2.0).soft()
        """
        return dataclasses.replace(self, mode="soft")

    def hard(self) -> Surrogate:
        """The same surrogate with the step in the forward pass.

        >>> Surrogate("arctan", 2.0).soft().hard()
        arctan(slope=2.0)
        """
        return dataclasses.replace(self, mode="hard")

    def with_slope(self, slope: float) -> Surrogate:
        """The same surrogate with another slope (1/unit of x).

        >>> Surrogate("arctan", 2.0).with_slope(5.0)
        arctan(slope=5.0)
        """
        if not self.family.has_slope:
            raise UserError(no_slope(self.name, slope))
        return dataclasses.replace(self, slope=check_positive("slope", slope))

    # -- values -------------------------------------------------------------------------------

    def derivative(self, x: Tensor, slope: Tensor | None = None) -> Tensor:
        """The surrogate derivative g(x).

        Args:
            x: distance to the threshold, u - theta, any shape.
            slope: replaces the record's slope; broadcasts against x.
        Returns:
            g(x), shape and dtype of x; half types are evaluated in float32.
        Raises:
            TypeError: x is not a floating point tensor.

        >>> Surrogate("triangle", 2.0).derivative(torch.tensor([0.0, 0.25, 1.0]))
        tensor([2., 1., 0.])
        """
        z, k = self._scaled(x, slope)
        p = self.family.derivative(z, **dict(self.parameters))
        return (self._amplitude(k) * p).to(x.dtype)

    def primitive(self, x: Tensor, slope: Tensor | None = None) -> Tensor:
        """The primitive G(x), which is what soft mode puts in the forward pass.

        Args:
            x: distance to the threshold, u - theta, any shape.
            slope: replaces the record's slope; broadcasts against x.
        Returns:
            G(x), shape and dtype of x; half types are evaluated in float32.
        Raises:
            UserError: the surrogate has no primitive.
            TypeError: x is not a floating point tensor.

        >>> Surrogate("triangle", 2.0).primitive(torch.tensor([-1.0, 0.0, 0.25, 1.0]))
        tensor([0.0000, 0.5000, 0.8750, 1.0000])
        """
        self._need_primitive("a primitive")
        z, k = self._scaled(x, slope)
        function = self.family.primitive
        assert function is not None
        return (self._amplitude(k) / k * function(z, **dict(self.parameters))).to(x.dtype)

    def curve(self, points: int = 401) -> tuple[Tensor, Tensor, Tensor | None]:
        """The surrogate as drawn: over four widths `1/slope` to either side, at least 2.

        Args:
            points: how many.
        Returns:
            x, derivative and primitive (None where there is none), float64 `[points]`.

        >>> x, derivative, _ = Surrogate("triangle", 1.0).curve(5)
        >>> x.tolist(), derivative.tolist()
        ([-4.0, -2.0, 0.0, 2.0, 4.0], [0.0, 0.0, 1.0, 0.0, 0.0])
        """
        reach = max(2.0, 4.0 / self.slope)
        x = torch.linspace(-reach, reach, points, dtype=torch.float64)
        primitive = self.primitive(x).detach() if self.has_primitive else None
        return x, self.derivative(x).detach(), primitive

    def slope_derivative(self, x: Tensor, slope: Tensor) -> Tensor:
        """The derivative of the primitive with respect to the slope: d/dk P(k x) = x p(k x).

        Args:
            x: distance to the threshold, any shape.
            slope: k, broadcasts against x.
        Returns:
            gain * x p(k x), shape of x, in at least float32.

        >>> Surrogate("boxcar").slope_derivative(torch.tensor([0.5]), torch.tensor(1.0))
        tensor([0.2500])
        """
        z, _ = self._scaled(x, slope)
        return self.gain * (_wide(x) * self.family.derivative(z, **dict(self.parameters)))

    def __repr__(self) -> str:
        parts = [f"slope={self.slope}"] if self.family.has_slope else []
        parts += [f"{key}={value}" for key, value in self.parameters]
        parts += [f"normalisation={self.normalisation!r}"] if self.normalisation != "area" else []
        parts += [f"gain={self.gain}"] if self.gain != 1.0 else []
        return f"{self.name}({', '.join(parts)}){'.soft()' if self.mode == 'soft' else ''}"

    # -- private --------------------------------------------------------------------------------

    def _scaled(self, x: Tensor, slope: Tensor | None) -> tuple[Tensor, Tensor | float]:
        if not x.is_floating_point():
            raise TypeError(
                message("expected x of a floating point dtype", str(x.dtype), "use x.float()")
            )
        wide = _wide(x)
        k = self.slope if slope is None else slope.to(wide.dtype)
        return wide * k, k

    def _amplitude(self, k: Tensor | float) -> Tensor | float:
        if self.normalisation == "area":
            return self.gain * k
        return self.gain / self._unit_peak()

    def _unit_peak(self) -> float:
        return self.family.peak(**dict(self.parameters))

    def _need_primitive(self, purpose: str) -> None:
        if not self.has_primitive:
            raise UserError(
                message(
                    f"expected a surrogate with a primitive for {purpose}",
                    f"{self.name!r}, registered without one",
                    "pass primitive= to register()",
                )
            )


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in _HALF else x
