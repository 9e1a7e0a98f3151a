"""Which implementation runs: `"auto"` chooses, a name runs or says why it cannot.

A backend is a table of functions with the specification's signatures. Adding one is adding a
table here; a backend may lack some scans, and `"auto"` then takes the next in `ORDER`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from spikegrad import functional
from spikegrad.errors import UserError, message, unknown

__all__ = [
    "Choice",
    "alif",
    "available",
    "choose",
    "cuba_lif",
    "integrate_and_fire",
    "li",
    "lif",
    "recurrent",
    "spiking",
]

SCANS = ("integrate_and_fire", "lif", "cuba_lif", "alif", "li", "recurrent", "spiking")
TABLES: dict[str, Mapping[str, Callable[..., Any]]] = {
    "reference": {name: getattr(functional, name) for name in SCANS},
}
ORDER = ("reference",)
MISSING = {"cpu": "this version has no native CPU kernels"}
"""Backends with a name and no table, and why."""


@dataclass(frozen=True)
class Choice:
    """One decision: which backend runs a scan, and the reason in words."""

    scan: str
    backend: str
    reason: str
    function: Callable[..., Any]


def available() -> dict[str, str]:
    """Every backend's name with "" when it can run, or the reason why it cannot.

    >>> available()["reference"]
    ''
    """
    return {**dict.fromkeys(TABLES, ""), **MISSING}


def choose(scan: str, backend: str = "auto") -> Choice:
    """The implementation of a scan under a backend asked for.

    Raises UserError for an unknown backend, and for one asked for by name that cannot run.

    >>> choose("lif").backend
    'reference'
    """
    if backend == "auto":
        name = next(name for name in ORDER if scan in TABLES[name])
        return Choice(scan, name, "the first backend that has this scan", TABLES[name][scan])
    check_backend(backend)
    if scan not in TABLES[backend]:
        raise UserError(
            message(f"expected a backend with {scan}", f"backend={backend!r}", "use 'auto'")
        )
    return Choice(scan, backend, "asked for by name", TABLES[backend][scan])


def check_backend(backend: str) -> None:
    """A backend that can run here, or "auto"."""
    if backend == "auto" or backend in TABLES:
        return
    if backend in MISSING:
        raise UserError(
            message(
                "expected a backend that can run here",
                f"backend={backend!r}: {MISSING[backend]}",
                "use 'auto' or 'reference'",
            )
        )
    raise UserError(unknown("backend", backend, ["auto", *TABLES, *MISSING]))


def integrate_and_fire(x: Tensor, state: Any = None, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.integrate_and_fire` by the chosen backend."""
    return choose("integrate_and_fire", backend).function(x, state, **args)


def lif(x: Tensor, state: Any = None, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.lif` by the chosen backend."""
    return choose("lif", backend).function(x, state, **args)


def cuba_lif(x: Tensor, state: Any = None, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.cuba_lif` by the chosen backend."""
    return choose("cuba_lif", backend).function(x, state, **args)


def alif(x: Tensor, state: Any = None, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.alif` by the chosen backend."""
    return choose("alif", backend).function(x, state, **args)


def li(x: Tensor, state: Any = None, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.li` by the chosen backend."""
    return choose("li", backend).function(x, state, **args)


def recurrent(x: Tensor, state: Any = None, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.recurrent` by the chosen backend."""
    return choose("recurrent", backend).function(x, state, **args)


def spiking(x: Tensor, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.spiking` by the chosen backend."""
    return choose("spiking", backend).function(x, **args)
