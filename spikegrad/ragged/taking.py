"""Functions and networks that are called with the lengths of the sequences that they get."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from spikegrad.errors import UserError, message

__all__ = ["with_lengths"]


def with_lengths(
    function: Callable[..., Any], lengths: Tensor | None, what: str, remedy: str
) -> Callable[..., Any]:
    """A function, or a module, with `lengths=` bound; itself where there are none.

    what, remedy: for the message of the UserError where it takes no lengths: padding would count
    as if it were real.

    >>> with_lengths(lambda y, lengths: y * lengths, 2, "a loss", "")(3)
    6
    """
    if lengths is None:
        return function
    if not takes_lengths(function):
        name = getattr(function, "__name__", type(function).__name__)
        expected = f"expected {what} that takes lengths= for sequences of different length"
        raise UserError(message(expected, f"{name}, which does not", remedy))
    return partial(function, lengths=lengths)


def takes_lengths(function: Callable[..., Any]) -> bool:
    """Whether a call with `lengths=` reaches somebody who reads it."""
    if not isinstance(function, nn.Module):
        return names_lengths(function, loosely=True)
    return names_lengths(type(function).__call__) or names_lengths(function.forward, loosely=True)


def names_lengths(function: Callable[..., Any], *, loosely: bool = False) -> bool:
    """Whether a signature names lengths; loosely: or takes any name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # no signature: built in, or compiled
        return loosely
    kinds = {p.kind for p in parameters.values()}
    return "lengths" in parameters or (loosely and inspect.Parameter.VAR_KEYWORD in kinds)
