"""The built-in surrogates, one file each: derivative, primitive, figures and public function.

A new surrogate is a new file in this folder and nothing else: it is found by its name, which is
that of its file, here and as `spikegrad.surrogate.NAME`.

>>> import spikegrad as sg
>>> sg.surrogate.get("arctan") == sg.surrogate.arctan()
True
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from spikegrad.errors import UserError, message
from spikegrad.surrogate.built_in import FACTORIES

__all__ = ["collect"]


def collect() -> None:
    """Import every file of this folder; each enters its surrogate into the tables.

    Raises UserError for a file that does not define the surrogate of its name.
    """
    for file in iter_modules(__path__):
        module = f"{__name__}.{file.name}"
        import_module(module)
        if file.name not in FACTORIES or FACTORIES[file.name].__module__ != module:
            raise UserError(
                message(
                    f"expected a surrogate {file.name!r} in {module}",
                    "none",
                    "call its public function as the file, with @built_in(...) or @alias above it",
                )
            )


collect()
