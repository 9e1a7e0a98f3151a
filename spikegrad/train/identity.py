"""What a run's result depends on besides its config, as plain data that a resumed run is held to.

A function is known by its qualified name, the SHA-256 of its own text, and the plain values it was
made with (defaults, closure, arguments of a partial, attributes of an object). What cannot be known
is named: text that Python cannot read, and values that are neither plain nor tensors. What a
function calls is not looked at.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import re
import textwrap
from collections.abc import Mapping
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.errors import UserError, message

__all__ = ["Identity", "check_same", "identity", "network_identity"]

Identity = dict[str, Any]
"""Plain data: name, source, settings; `not_known`, what of it is not compared."""

_LIBRARIES = ("torch", "spikegrad", "numpy", "builtins")
_REMEDY = "give the one that the run was started with, or start another run"


def identity(thing: Any) -> Identity:
    """What a function, a module or another object is.

    >>> identity(nn.CrossEntropyLoss(label_smoothing=0.1))["settings"]["label_smoothing"]
    0.1
    """
    missing: list[str] = []
    settings: dict[str, Any] = {}
    while isinstance(thing, functools.partial):
        named = {str(i): value for i, value in enumerate(thing.args)} | thing.keywords
        settings.update(_values(named, missing))
        thing = thing.func
    code: Any = thing
    if isinstance(thing, MethodType):
        settings.update(_values(_attributes(thing.__self__), missing))
        code = thing.__func__
    elif isinstance(thing, FunctionType):
        settings.update(_values(_bound(thing), missing))
    elif not inspect.isbuiltin(thing) and not isinstance(thing, type):
        settings.update(_values(_attributes(thing), missing))
        code = type(thing)
    parts = (getattr(code, "__module__", ""), getattr(code, "__qualname__", str(code)))
    name = ".".join(part for part in parts if part)
    found: Identity = {"name": name, "source": _source(code, missing), "settings": settings}
    return {**found, "not_known": missing} if missing else found


def network_identity(network: nn.Module) -> Identity:
    """The layers of a network as they print, without values that are learned, and its classes.

    >>> network_identity(nn.Sequential(nn.Linear(2, 1)))["layers"]
    ['Sequential(', '(0): Linear(in_features=2, out_features=1, bias=True)', ')']
    """
    text = re.sub(r"Quantity\([^)]*learned\)", "Quantity(learned)", repr(network))
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    missing: list[str] = []
    kinds = dict.fromkeys(type(module) for module in network.modules())
    own = [kind for kind in kinds if not _of_library(kind)]
    sources = {f"{kind.__module__}.{kind.__qualname__}": _source(kind, missing) for kind in own}
    layers = [line.strip() for line in text.splitlines()]
    found: Identity = {"layers": layers, "sources": sources}
    return {**found, "not_known": missing} if missing else found


def check_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse to go on with something else than a run was started with.

    Raises:
        UserError: names the first thing that differs.

    >>> check_same({"encoder": {"name": "f"}}, {"encoder": {"name": "g"}})
    Traceback (most recent call last):
        ...
    spikegrad.errors.UserError: expected encoder.name = f as the run was started with, got g; ...
    """
    before, after = _flat(old), _flat(new)
    for name in [*before, *(name for name in after if name not in before)]:
        if "not_known" in name or before.get(name) == after.get(name):
            continue
        held, given = (str(which.get(name, "none"))[:80] for which in (before, after))
        remedy = f"its source has changed; {_REMEDY}" if ".source" in name else _REMEDY
        expected = f"expected {name} = {held} as the run was started with"
        raise UserError(message(expected, given, remedy))


def _flat(data: Any, name: str = "") -> dict[str, Any]:
    """Nested data as `{dotted name: value}`."""
    if isinstance(data, Mapping) and data:
        parts: Any = data.items()
    elif isinstance(data, (list, tuple)) and data:
        parts = enumerate(data, 1)
    else:
        return {name: data}
    found: dict[str, Any] = {}
    for key, value in parts:
        found.update(_flat(value, f"{name}.{key}" if name else str(key)))
    return found


def _bound(function: FunctionType) -> dict[str, Any]:
    """The values that a function was made with: of its closure and its defaults."""
    closed = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {**closed, **defaults}


def _attributes(thing: Any) -> dict[str, Any]:
    """What an object was made with: its fields, its own attributes, the tensors of a module."""
    if dataclasses.is_dataclass(thing):
        return {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}
    own = getattr(thing, "__dict__", {})
    if isinstance(thing, nn.Module):
        plain = {name: v for name, v in own.items() if not name.startswith("_")}
        return {**plain, **thing.state_dict(), "module": repr(thing)}
    return dict(own)


def _values(named: Mapping[str, Any], missing: list[str]) -> dict[str, Any]:
    """The values as plain data; the names of those that are none go to `missing`."""
    found = {}
    for name, value in named.items():
        if name == "training":
            continue
        plain = _plain(value)
        if plain is NotImplemented:
            missing.append(f"{name}, of the type {type(value).__name__}, is not compared")
        else:
            found[name] = plain
    return found


def _plain(value: Any) -> Any:
    """A value that cannot change as plain data; NotImplemented for any other."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value)
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"{value.dtype} {list(value.shape)} {_digest(data)}"
    if isinstance(value, (tuple, frozenset)):
        parts = [_plain(part) for part in value]
        return NotImplemented if NotImplemented in parts else parts
    if callable(value) and not isinstance(value, nn.Module):
        return identity(value)
    return NotImplemented


def _of_library(code: Any) -> bool:
    return str(getattr(code, "__module__", "")).split(".")[0] in _LIBRARIES


def _source(code: Any, missing: list[str]) -> str:
    """The SHA-256 of the text of a function or class; "" for a library's own."""
    if _of_library(code):
        return ""
    try:
        return _digest(textwrap.dedent(inspect.getsource(code)).encode())
    except (OSError, TypeError):
        missing.append("its source cannot be read, so only its name is compared")
        return ""


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()[:32]}"
