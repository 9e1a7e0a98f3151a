"""Operators' schemas, from the signatures that describe their shapes.

The library in C++ says what an operator of the CPU does; its arguments' names and types stand in
Python already, where a trace asks for shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

import torch
from torch import Tensor

__all__ = ["define", "schema"]

WORDS: dict[Any, str] = {
    Tensor: "Tensor",
    Tensor | None: "Tensor?",
    int: "int",
    float: "float",
    bool: "bool",
    list[float]: "float[]",
    list[int]: "int[]",
}
LIBRARY: list[torch.library.Library] = []
"""Where the schemas stand, for as long as the process."""


def define(
    name: str,
    signature: Callable[..., Any] | None = None,
    results: str = "",
    *,
    run: Callable[..., Any] | None = None,
) -> None:
    """Tell torch of an operator.

    name: the operator's, or without a signature all of its schema; signature: a function, or a
    `NamedTuple`, with the operator's arguments; results: names of the tensors that it returns, ""
    for one alone; run: what it does on every device, None where a library in C++ says it.
    """
    if not LIBRARY:
        LIBRARY.append(torch.library.Library("spikegrad", "FRAGMENT"))
    LIBRARY[0].define(name if signature is None else name + schema(signature, results))
    if run is not None:
        LIBRARY[0].impl(name, run, "CompositeExplicitAutograd")


def schema(signature: Callable[..., Any], results: str = "") -> str:
    """Arguments and results as torch writes them.

    >>> def shapes(x: Tensor, bias: Tensor | None, keep: bool) -> Any: ...
    >>> schema(shapes, "y bits")
    '(Tensor x, Tensor? bias, bool keep) -> (Tensor y, Tensor bits)'
    """
    hints = get_type_hints(signature)
    hints.pop("return", None)
    arguments = ", ".join(f"{WORDS[kind]} {name}" for name, kind in hints.items())
    made = ", ".join(f"Tensor {name}" for name in results.split())
    return f"({arguments}) -> {f'({made})' if made else 'Tensor'}"
