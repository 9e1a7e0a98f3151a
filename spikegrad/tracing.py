"""Marks for `torch.compile` that do not import it: `torch._dynamo` takes a second to import."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

__all__ = ["constant", "untraced"]

Function = TypeVar("Function", bound=Callable[..., Any])


def constant(function: Function) -> Function:
    """`torch.compiler.assume_constant_result`: a trace calls the function once, and keeps what it
    returned.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """`torch.compiler.disable`: a trace leaves the function to Python."""

    @wraps(function)
    def run(*args: Any, **named: Any) -> Any:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(function)(*args, **named)
        return function(*args, **named)

    return run
