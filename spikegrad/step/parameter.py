"""What a neuron's step reads besides its input and its states: numbers with a name.

A plain number in a declaration is a `Parameter` without bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from spikegrad.checks import check_number, check_positive
from spikegrad.errors import UserError, message

__all__ = ["Declared", "Parameter", "TimeConstant", "declared", "names_read"]


@dataclass(frozen=True)
class Parameter:
    """A number of a neuron: a threshold, a conductance, a jump.

    value: the default; low, high: the interval of its values, None for no bound; a learned value
    stays inside it, a fixed one may be its end; unit: for the documentation, "mV" for example.
    Raises TypeError for a value that is no number, UserError for one outside its bounds.

    >>> Parameter(30.0, low=0.0, unit="nS").value
    30.0
    """

    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        check_number(self.value, "value")
        under = self.low is not None and not self.value > self.low
        over = self.high is not None and not self.value < self.high
        if under or over:
            raise UserError(
                message(f"expected a value in ({self.low}, {self.high})", str(self.value))
            )


@dataclass(frozen=True)
class TimeConstant:
    """A time constant (ms) that the step reads as its decay per step, `exp(-dt/tau)`.

    value: the default (ms); decay: the name under which the step reads the decay.

    >>> TimeConstant(20.0, decay="beta").decay
    'beta'
    """

    value: float
    decay: str

    def __post_init__(self) -> None:
        check_positive(self.value, "a time constant", unit="ms")
        if not isinstance(self.decay, str) or not self.decay.isidentifier():
            raise TypeError(message("expected decay as a name", repr(self.decay), "e.g. 'beta'"))


Declared: TypeAlias = "Parameter | TimeConstant"


def declared(parameters: Mapping[str, Declared | float]) -> dict[str, Declared]:
    """The declarations, with plain numbers as `Parameter`; raises TypeError for anything else."""
    return {
        name: value if isinstance(value, Parameter | TimeConstant) else Parameter(value)
        for name, value in parameters.items()
    }


def names_read(parameters: Mapping[str, Declared]) -> dict[str, str]:
    """By the name under which the step reads it: the declared name.

    >>> names_read({"tau": TimeConstant(20.0, decay="beta"), "threshold": Parameter(1.0)})
    {'beta': 'tau', 'threshold': 'threshold'}
    """
    return {
        value.decay if isinstance(value, TimeConstant) else name: name
        for name, value in parameters.items()
    }
