"""All claims by name: one file each in `claims/`, found by itself."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from spikegrad.errors import UserError, message, unknown
from spikegrad.verify import claims as folder
from spikegrad.verify.claim import Claim

__all__ = ["claims_of", "names"]

_ORDER = ("surrogates", "backends")
"""First what everything else rests on; the others follow by name."""


@cache
def _found() -> dict[str, Claim]:
    """The claims of every file, each under its own name."""
    found: dict[str, Claim] = {}
    for file in iter_modules(folder.__path__):
        module = import_module(f"{folder.__name__}.{file.name}")
        here = [each for each in vars(module).values() if isinstance(each, Claim)]
        for each in here:
            if each.name in found:
                raise UserError(message("expected one claim of every name", f"two {each.name!r}"))
            found[each.name] = each
    first = [name for name in _ORDER if name in found]
    return {name: found[name] for name in (*first, *sorted(set(found) - set(first)))}


def names() -> tuple[str, ...]:
    """The names of all claims, in the order in which they run.

    >>> names()[0]
    'surrogates'
    """
    return tuple(_found())


def claims_of(wanted: tuple[str, ...] = ()) -> list[Claim]:
    """The claims of these names, each once; all where none is given.

    Raises UserError for an unknown name, with the close ones.
    """
    known = _found()
    for name in wanted:
        if name not in known:
            raise UserError(unknown("check", name, known))
    return [known[name] for name in dict.fromkeys(wanted or known)]
