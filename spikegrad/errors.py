"""The errors and warnings a user meets, and the one format of their messages."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping

__all__ = [
    "RunError",
    "SpikegradWarning",
    "UserError",
    "close_names",
    "message",
    "printable",
    "unknown",
]


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


def close_names(
    name: object, known: Iterable[str], synonyms: Mapping[str, str] | None = None
) -> list[str]:
    """The known name that another word stands for, or else up to three that are spelled alike.

    >>> close_names("lr", ["learning_rate", "learn"], {"lr": "learning_rate"})
    ['learning_rate']
    """
    names, word = list(known), str(name)
    meant = (synonyms or {}).get(word.lower().replace("-", "_"))
    if meant in names:
        return [meant]
    return difflib.get_close_matches(word, names, n=3, cutoff=0.5)


def unknown(
    kind: str, name: object, known: Iterable[str], synonyms: Mapping[str, str] | None = None
) -> str:
    """The message for a wrong name, with the close ones first.

    >>> unknown("surrogate", "arctn", ["arctan", "sigmoid"])
    "unknown surrogate 'arctn'; did you mean 'arctan'? (known: arctan, sigmoid)"
    """
    names = list(known)
    close = close_names(name, names, synonyms)
    hint = " or ".join(repr(c) for c in close)
    guess = f"; did you mean {hint}?" if close else ";"
    return f"unknown {kind} {name!r}{guess} (known: {', '.join(names)})"


def printable(text: str) -> str:
    r"""The text with every control character but line feed and tab written as an escape.

    What a user named (a class, a file, a layer) goes to a terminal, which would obey an ESC; marks
    that change the direction of writing could show a name as another one.

    >>> print(printable("red: \x1b[31m"))
    red: \x1b[31m
    """
    return "".join(c if _shows(c) else c.encode("unicode_escape").decode() for c in text)


_DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def _shows(character: str) -> bool:
    """Whether a terminal draws a character, or ends a line with it, and does nothing else."""
    if character in "\n\t":
        return True
    control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return not control and unicodedata.bidirectional(character) not in _DIRECTIONS
