"""What a page is made of: tabs of blocks, as plain data that the page's script draws.

A block is a dictionary with a `kind`, which names its function in `assets/`. Texts are texts: no
block holds HTML, and nothing that a user named is read as such.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from spikegrad.errors import printable

__all__ = [
    "Block",
    "Code",
    "Tab",
    "axis",
    "cleaned",
    "figure",
    "link",
    "packed",
    "packed_bits",
    "series",
    "tab",
    "table",
    "text",
    "tiles",
]

Block: TypeAlias = dict[str, Any]
Tab: TypeAlias = dict[str, Any]

_LONGEST = 20_000  # characters of one text


class Code(str):
    """Numbers as text, of letters that need no cleaning."""

    __slots__ = ()


def tab(name: str, title: str, blocks: Iterable[Block]) -> Tab | None:
    """A tab; None where it would be empty. name: of letters, for addresses."""
    held = [block for block in blocks if block]
    return {"id": name, "title": title, "blocks": held} if held else None


def text(*paragraphs: str) -> Block:
    """Paragraphs."""
    return {"kind": "text", "paragraphs": list(paragraphs)} if paragraphs else {}


def tiles(entries: Iterable[tuple[str, str, str]]) -> Block:
    """Key figures: (label, value, what it is of)."""
    held = [{"label": a, "value": b, "note": c} for a, b, c in entries]
    return {"kind": "tiles", "tiles": held} if held else {}


def table(
    name: str,
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    note: str = "",
) -> Block:
    """A table that is also a CSV file; numbers in it are numbers, None is an empty cell,
    `link` makes one that leads to another page.
    """
    held = [list(row) for row in rows]
    if not held:
        return {}
    return {
        "kind": "table",
        "id": name,
        "title": title,
        "columns": list(columns),
        "rows": held,
        "note": note,
    }


def link(words: str, address: str) -> dict[str, str]:
    """A cell of a table that leads to a file below the page's own folder."""
    return {"text": words, "address": address}


def axis(title: str, *, kind: str = "linear", **more: Any) -> dict[str, Any]:
    """An axis with its title, unit included. kind: "linear", "log" or "category"."""
    return {"title": title, "type": kind, **more}


def series(
    name: str, x: Iterable[Any], y: Iterable[Any], colour: int | str, **more: Any
) -> dict[str, Any]:
    """One line of a figure. colour: a place in the palette, or "ink", "muted"; `mode`: "lines",
    "markers" or "bars"; `dash`: of plotly.
    """
    return {"name": name, "x": list(x), "y": list(y), "colour": colour, **more}


def figure(
    name: str,
    title: str,
    lines: Iterable[dict[str, Any]],
    *,
    x: dict[str, Any],
    y: dict[str, Any],
    note: str = "",
    marks: Iterable[dict[str, Any]] = (),
    wide: bool = False,
) -> Block:
    """A figure of lines, points or bars; empty where none of them has a value.

    marks: vertical lines {"x", "label"}; wide: over the whole width of the page.
    """
    drawn = [line for line in lines if any(value is not None for value in line["y"])]
    if not drawn:
        return {}
    return {
        "kind": "figure",
        "id": name,
        "title": title,
        "series": drawn,
        "x": x,
        "y": y,
        "note": note,
        "marks": list(marks),
        "wide": wide,
    }


def packed(values: ArrayLike) -> dict[str, Any]:
    """An array of numbers as text: float32, little endian, with its shape."""
    array = np.ascontiguousarray(np.asarray(values), dtype="<f4")
    code = Code(base64.b64encode(array.tobytes()).decode())
    return {"type": "f4", "shape": list(array.shape), "data": code}


def packed_bits(values: ArrayLike) -> dict[str, Any]:
    """An array of zeros and others as text: a bit each, the first one highest."""
    array = np.asarray(values) != 0
    code = Code(base64.b64encode(np.packbits(array.reshape(-1)).tobytes()).decode())
    return {"type": "bits", "shape": list(array.shape), "data": code}


def cleaned(value: Any) -> Any:
    """The same as values that JSON can hold: no NaN, no infinity, no control character.

    >>> cleaned({"a": float("nan"), "b": ["\\x1b[31m", 1.5, np.float32(2.0)]})
    {'a': None, 'b': ['\\\\x1b[31m', 1.5, 2.0]}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, str):
        return printable(value[:_LONGEST])
    if isinstance(value, Mapping):
        return {str(key): cleaned(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(each) for each in value]
    return value if value is None or isinstance(value, bool | int) else str(value)
