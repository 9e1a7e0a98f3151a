"""What a converter is made of: one library's names, each converted or refused with the reason."""

from __future__ import annotations

import inspect
import math
import numbers
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spikegrad.errors import SpikegradWarning, UserError, message, unknown
from spikegrad.surrogate.record import Surrogate

__all__ = ["Peer"]


@dataclass(frozen=True)
class Peer:
    """The surrogates of one release of one library.

    Args:
        library: its name.
        version: the release whose functions were measured.
        conversions: name -> a function of that library's own arguments, with its defaults.
        refusals: name -> why there is no such record.
        warnings: name -> what the release computes other than it documents.
    """

    library: str
    version: str
    conversions: Mapping[str, Callable[..., Surrogate]]
    refusals: Mapping[str, str]
    warnings: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Every surrogate of the library, sorted."""
        return tuple(sorted([*self.conversions, *self.refusals]))

    def convert(self, name: str, arguments: dict[str, Any]) -> Surrogate:
        """The record that a name with that library's arguments means; `UserError` if none."""
        if name in self.refusals:
            raise UserError(f"{self.library}'s {name} is not converted: {self.refusals[name]}")
        if name not in self.conversions:
            raise UserError(unknown(f"{self.library} surrogate", name, self.names))
        build = self.conversions[name]
        self._check(name, arguments, list(inspect.signature(build).parameters))
        record = build(**arguments)
        if name in self.warnings:
            text = f"{self.library} {self.version} {self.warnings[name]}"
            warnings.warn(text, SpikegradWarning, stacklevel=4)
        return record

    def _check(self, name: str, arguments: dict[str, Any], known: list[str]) -> None:
        for key, value in arguments.items():
            if key not in known:
                raise UserError(unknown(f"argument of {self.library}'s {name}", key, known))
            if key == "spiking" and isinstance(value, bool):
                continue
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise TypeError(message(f"expected {key} as a number", repr(value)))
            value = float(value)
            if not math.isfinite(value):
                raise UserError(message(f"expected {key} finite", repr(value)))
            if not (value > 0 or (key == "c" and value == 0)):
                raise UserError(message(f"expected {key} positive", repr(value)))
