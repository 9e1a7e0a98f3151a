"""The backends that there are: those of this folder, found by their names, and those of others."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from spikegrad import backends
from spikegrad.errors import UserError, message, unknown
from spikegrad.kernels.backend import Backend
from spikegrad.kernels.reference import REFERENCE
from spikegrad.step import Step
from spikegrad.types import Value

__all__ = [
    "available",
    "check_backend",
    "get",
    "made_of_step",
    "on_device",
    "packed_types",
    "register",
    "unregister",
]

_BACKENDS: dict[str, Backend] = {REFERENCE.name: REFERENCE}
_ON: dict[str, tuple[Backend, ...]] = {}
"""Those that "auto" asks about tensors on a type of device, in order."""
_PACKED: list[tuple[type, ...]] = [()]


def register(backend: Backend) -> None:
    """Add a backend from outside of the package, for `backend="its name"` and for "auto".

    Raises TypeError for what is no `Backend`, UserError for a name that is taken, or no order.
    """
    if not isinstance(backend, Backend):
        expected = "expected an object of a class derived from kernels.Backend"
        raise TypeError(message(expected, repr(backend), "see CONTRIBUTING.md"))
    name, order = getattr(backend, "name", None), getattr(backend, "order", None)
    if not isinstance(name, str) or not name.isidentifier() or not isinstance(order, int):
        expected = "expected a backend with a name (one word) and an order (a whole number)"
        raise UserError(message(expected, f"name={name!r}, order={order!r}", "set both"))
    if name in _BACKENDS or name == "auto":
        raise UserError(
            message("expected a new name", f"{name!r}, which is taken", "choose another")
        )
    _BACKENDS[name] = backend
    if name not in backends.NAMES:
        backends.NAMES.append(name)
    order_them()


def unregister(name: str) -> None:
    """Take a backend out again; raises UserError for one that is not there, or the reference."""
    if name not in _BACKENDS or name == REFERENCE.name:
        others = [word for word in _BACKENDS if word != REFERENCE.name]
        raise UserError(unknown("backend to remove", name, others))
    del _BACKENDS[name]
    backends.NAMES.remove(name)
    order_them()


def order_them() -> None:
    """Put down who is asked about which device."""
    ordered = sorted(_BACKENDS.values(), key=lambda each: (each.order, each.name))
    devices = {device for each in ordered for device in each.devices}
    _ON.clear()
    for device in devices:
        _ON[device] = tuple(each for each in ordered if device in each.devices)
    _PACKED[0] = tuple({each.packs for each in ordered if each.packs is not None})


def get(name: str) -> Backend:
    """A backend by its name; raises UserError for an unknown one."""
    found = _BACKENDS.get(name)
    if found is None:
        raise UserError(unknown("backend", name, backends.NAMES))
    return found


def on_device(x: Any) -> tuple[Backend, ...]:
    """The backends that "auto" asks about an input, in order; None: one on a CPU."""
    return _ON.get("cpu" if x is None else x.device.type, ())


def packed_types() -> tuple[type, ...]:
    """The types, besides tensors, that some backend's layers read."""
    return _PACKED[0]


def check_backend(name: str) -> None:
    """A known backend; one by name only where it can run."""
    if name != "auto" and (why := get(name).missing()):
        raise UserError(
            message(
                "expected a backend that can run here",
                f"backend={name!r}: {why}",
                "use 'auto' or 'reference'",
            )
        )


def available() -> dict[str, str]:
    """Every backend's name with "" when it can run, or the reason why it cannot.

    Builds the native kernels if they are not there yet.

    >>> available()["reference"]
    ''
    """
    return {name: backend.missing() for name, backend in _BACKENDS.items()}


def made_of_step(
    definition: Step, args: Mapping[str, Any], values: Mapping[str, Value]
) -> dict[str, str]:
    """What each backend makes of a step that has a native form, in words, by the backends' names.

    args, values: as of `Backend.made`.
    """
    return {name: backend.made(definition, args, values) for name, backend in _BACKENDS.items()}


def discover() -> None:
    """Register every folder beside this file that has a module `backend` with a `BACKEND`."""
    for name in backends.folders():
        found: Any = import_module(f"spikegrad.kernels.{name}.backend").BACKEND
        if found.name != name:
            expected = f"expected the backend of kernels/{name} to be named {name!r}"
            raise UserError(message(expected, repr(found.name), "rename one of them"))
        register(found)


discover()
