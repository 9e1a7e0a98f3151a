"""The numbers that a step takes from outside of its arguments: globals and closures.

A kernel is generated once, with the numbers of that moment in it; a step in torch reads them anew
each time. A change must not go unseen.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Outside"]

PLAIN = (bool, int, float, str)
Place = Callable[[], Any]


class Outside:
    """What a function, and the functions that it calls, read of globals and closures."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.places = list(places(function, set()))

    def now(self) -> tuple[tuple[str, Any], ...]:
        """Numbers and words by name; also those inside of lists, dicts and plain objects."""
        return tuple(
            (name, value) for name, place in self.places for value in plain_values(place())
        )


def places(function: Any, seen: set[int]) -> Iterator[tuple[str, Place]]:
    """Where values from outside are, by name."""
    if not isinstance(function, types.FunctionType) or id(function) in seen:
        return
    if (function.__module__ or "").split(".")[0] in ("torch", "spikegrad"):
        return
    seen.add(id(function))
    names = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found = [(name, of_cell(cell)) for name, cell in names]
    found += [
        (name, of_global(function.__globals__, name))
        for name in sorted(names_of(function.__code__))
        if name in function.__globals__
    ]
    for name, place in found:
        value = place()
        if isinstance(value, types.FunctionType):
            yield from places(value, seen)
        elif not isinstance(value, types.ModuleType | type):
            yield name, place


def names_of(code: types.CodeType) -> set[str]:
    """Global names of a function, and of those that it defines."""
    inner = (names_of(const) for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*inner)


def of_cell(cell: types.CellType) -> Place:
    def read() -> Any:
        try:
            return cell.cell_contents
        except ValueError:  # nothing in it yet
            return None

    return read


def of_global(values: dict[str, Any], name: str) -> Place:
    return lambda: values.get(name)


def plain_values(value: Any) -> Iterator[Any]:
    """Numbers and words of a value, one level deep."""
    if isinstance(value, PLAIN):
        yield value
    elif isinstance(value, tuple | list):
        yield from (item for item in value if isinstance(item, PLAIN))
    elif isinstance(value, dict):
        yield from (item for item in value.values() if isinstance(item, PLAIN))
    elif hasattr(value, "__dict__"):
        yield from (item for item in vars(value).values() if isinstance(item, PLAIN))
