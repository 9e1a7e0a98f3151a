"""The table of families: the built-in ones (`shapes/`, one file each) and those of `register`."""

from __future__ import annotations

from spikegrad.errors import UserError, unknown
from spikegrad.surrogate.family import Family

__all__ = ["FAMILIES", "find"]

FAMILIES: dict[str, Family] = {}


def find(name: str) -> Family:
    """The family of that name.

    Args:
        name: a family's own name (aliases are resolved by `get`).
    Returns:
        the family.
    Raises:
        UserError: for an unknown name; lists the close ones.

    >>> find("arctan").area
    1.0
    """
    try:
        return FAMILIES[name]
    except (KeyError, TypeError):
        raise UserError(unknown("surrogate", name, FAMILIES)) from None
