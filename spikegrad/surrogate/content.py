"""What a function does, as a number: equal where the same is computed, in this process or another.

A compiled gradient outlives the process that made it: torch keeps it on disk and finds it by the
operators and their arguments. The name of a user's own surrogate says nothing there, its content
does: the code, with the constants, defaults, closures and globals that it reads, as deep as they
are Python's. What cannot be read (an object of a class, another module's function by attribute)
gives a number that no other process has, so that nothing is shared by mistake.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import secrets
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["content"]

BITS = 61
# Their names, and the versions of Python, numpy and torch, say what their functions do.
_LIBRARIES = (sys.stdlib_module_names - {"importlib"}) | {"numpy", "torch"}
_READS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_EVERYTHING = {"__import__", "eval", "exec", "globals", "importlib", "vars"}
_PLAIN = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    types.NoneType,
    types.EllipsisType,
    torch.dtype,
    torch.device,
    np.generic,
)


class _Unreadable(Exception):
    """Something that cannot be looked into."""


def content(function: Callable[..., Any]) -> int:
    """A positive number of 61 bits for what a function does.

    Args:
        function: any callable.
    Returns:
        the same number for the same content under the same versions of Python, numpy and torch; a
        random one where the content cannot be read.

    >>> content(lambda z: 2 * z) == content(lambda z: 2 * z)
    True
    >>> content(lambda z: 2 * z) == content(lambda z: 3 * z)
    False
    """
    digest = hashlib.sha256()
    versions = (sys.version, np.__version__, torch.__version__)
    try:
        for part in (*versions, *_parts(function, ())):
            text = part if isinstance(part, bytes) else part.encode()
            digest.update(f"{len(text)}:".encode() + text)
    except _Unreadable:
        return 1 + secrets.randbits(BITS)
    return 1 + (int.from_bytes(digest.digest()[:8], "big") >> (64 - BITS))


def _parts(value: Any, above: tuple[Any, ...]) -> Iterator[str | bytes]:
    """A value piece by piece; above: what it is a part of, outermost first."""
    yield type(value).__qualname__
    if isinstance(value, _PLAIN):
        yield repr(value)
        return
    for depth, whole in enumerate(above):
        if whole is value:  # a function that calls itself
            yield f"again {depth}"
            return
    within = (*above, value)
    if isinstance(value, (tuple, list)):
        yield from _items(value, within)
    elif isinstance(value, dict):
        yield from _items([*value, *value.values()], within)
    elif isinstance(value, (set, frozenset)):
        yield from sorted(repr(list(_parts(item, within))) for item in value)
        yield "end"
    elif isinstance(value, (Tensor, np.ndarray)):
        yield from _array(value)
    elif isinstance(value, functools.partial):
        yield from _items([value.func, value.args, value.keywords], within)
    elif isinstance(value, types.CodeType):
        yield from _code(value, within)
    elif library := _library_of(value):
        yield f"{library}.{value.__qualname__}"
    elif isinstance(value, types.FunctionType):
        yield from _function(value, within)
    else:
        raise _Unreadable


def _items(values: Any, within: tuple[Any, ...]) -> Iterator[str | bytes]:
    for value in values:
        yield from _parts(value, within)
    yield "end"


def _function(function: types.FunctionType, within: tuple[Any, ...]) -> Iterator[str | bytes]:
    yield from _parts(function.__code__, within)
    yield from _items([function.__defaults__, function.__kwdefaults__], within)
    for cell in function.__closure__ or ():
        try:
            yield from _parts(cell.cell_contents, within)
        except ValueError:  # nothing in it yet
            raise _Unreadable from None
    for name in sorted(_reads(function.__code__)):
        yield name
        value = function.__globals__.get(name)  # not there: a builtin
        if not isinstance(value, types.ModuleType):
            yield from _parts(value, within)
        elif value.__name__.split(".")[0] in _LIBRARIES:
            yield value.__name__
        else:  # which of its functions are called, only running tells
            raise _Unreadable


def _code(code: types.CodeType, within: tuple[Any, ...]) -> Iterator[str | bytes]:
    """Instructions and what they name; not where they stand in a file."""
    yield code.co_code
    yield getattr(code, "co_exceptiontable", b"")
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    yield from _items([names, counts, code.co_consts], within)


def _reads(code: types.CodeType) -> set[str]:
    """The names that a code and the functions within it look up outside."""
    steps = list(dis.get_instructions(code))
    names = {step.argval for step in steps if step.opname in _READS}
    imports = {step.argval.split(".")[0] for step in steps if step.opname == "IMPORT_NAME"}
    if names & _EVERYTHING or imports - _LIBRARIES:
        raise _Unreadable
    inner = [part for part in code.co_consts if isinstance(part, types.CodeType)]
    return names.union(*map(_reads, inner))


def _array(value: Tensor | np.ndarray) -> Iterator[str | bytes]:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.device.type == "meta":
            raise _Unreadable
        yield f"{value.dtype} {tuple(value.shape)}"
        value = value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
    elif value.dtype.hasobject:
        raise _Unreadable
    yield f"{value.dtype} {value.shape}"
    yield value.tobytes()


def _library_of(value: Any) -> str:
    """The module of a function or class of Python, numpy or torch, "" for others."""
    if not isinstance(value, (types.FunctionType, types.BuiltinFunctionType, type)):
        return ""
    module = value.__module__
    owner = getattr(value, "__self__", None)
    if module is None and isinstance(owner, (type, types.ModuleType)):  # torch.exp
        module = getattr(owner, "__module__", None) or owner.__name__
    known = isinstance(module, str) and module.split(".")[0] in _LIBRARIES
    return str(module) if known and "<" not in value.__qualname__ else ""
