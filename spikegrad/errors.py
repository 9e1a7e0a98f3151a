"""The errors and warnings a user meets, and the one format of their messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["RunError", "SpikegradWarning", "UserError", "message", "unknown"]


class UserError(ValueError):
    """Something the user gave is wrong; the command line prints it as one line, exit status 2."""


class RunError(RuntimeError):
    """A run failed on its way (a NaN loss, a lost process); exit status 1."""


class SpikegradWarning(UserWarning):
    """Something will work, but not as well as it could."""


def message(expected: str, got: str, remedy: str = "") -> str:
    """Join the three parts every message has.

    >>> message("expected x of rank >= 2, [T, B, ...]", "got [5]", "add a batch dimension")
    'expected x of rank >= 2, [T, B, ...], got [5]; add a batch dimension'
    """
    got = got if got.startswith("got") else f"got {got}"
    return f"{expected}, {got}" + (f"; {remedy}" if remedy else "")


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """The message for a wrong name, with the close ones first.

    >>> unknown("surrogate", "arctn", ["arctan", "sigmoid"])
    "unknown surrogate 'arctn'; did you mean 'arctan'? (known: arctan, sigmoid)"
    """
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = " or ".join(repr(c) for c in close)
    guess = f"; did you mean {hint}?" if close else ";"
    return f"unknown {kind} {name!r}{guess} (known: {', '.join(names)})"
