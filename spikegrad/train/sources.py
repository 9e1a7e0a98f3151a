"""Which values a run gets: command line over file over the data set's defaults over the fields'.

The recipes shipped with the package are TOML files in `recipes/`; the one named like a data set
holds that data set's defaults, and any of them can be asked for by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from spikegrad.errors import UserError, unknown
from spikegrad.train.config import OPTIONS, Config, gather
from spikegrad.train.fields import check_group, coerce
from spikegrad.train.toml import from_toml, read_file

__all__ = ["read", "recipes", "resolve"]

_INSTEAD = (("tau_mem", "beta"),)
"""Pairs of which the last one set wins: setting one at a level unsets the other below it."""


def recipes() -> list[str]:
    """The names of the shipped recipes, sorted.

    >>> "mnist" in recipes()
    True
    """
    files = resources.files("spikegrad.train").joinpath("recipes").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def read(name: str) -> dict[str, Any]:
    """The fields that a recipe or a TOML file sets.

    Args:
        name: a shipped recipe, or the path of a file (with a dot or a slash in it).
    Raises:
        UserError: no such recipe or file, or a wrong key or value in it.

    >>> read("mnist")["dataset"]
    'mnist'
    """
    if name in recipes():
        file = resources.files("spikegrad.train").joinpath("recipes") / f"{name}.toml"
        return from_toml(file.read_text(encoding="utf-8"), where=f"the recipe {name}")
    if Path(name).is_file() or Path(name).suffix or "/" in name or "\\" in name:
        return read_file(Path(name))
    raise UserError(unknown("recipe", name, recipes()) + ", or give the path of a .toml file")


def resolve(options: Mapping[str, Any] | None = None, *, config: str | None = None) -> Config:
    """The config of a run from its three sources.

    Args:
        options: fields set on the command line, or from Python; they win.
        config: a recipe or a TOML file; it wins over the data set's defaults.
    Raises:
        UserError: an unknown name or a wrong value.

    >>> resolve({"dataset": "mnist", "epochs": 2}).training.epochs
    2
    """
    given = dict(options or {})
    check_group(given, OPTIONS, "the options")
    given = {name: coerce(OPTIONS[name], value) for name, value in given.items()}
    file = read(config) if config else {}
    _own_data(given, file)
    dataset = given.get("dataset", file.get("dataset", OPTIONS["dataset"].default))
    base = read(dataset) if dataset in recipes() else {}
    return gather(_layered(base, file, given))


def _own_data(given: dict[str, Any], file: dict[str, Any]) -> None:
    """Own arrays have no data set's defaults; a data set named above them puts them aside."""
    if given.get("data"):
        given["dataset"] = Path(given["data"]).stem
    elif "dataset" in given:
        file.pop("data", None)
    elif file.get("data"):
        file["dataset"] = Path(file["data"]).stem


def _layered(*levels: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for level in levels:
        for pair in _INSTEAD:
            if any(name in level for name in pair):
                for name in pair:
                    values.pop(name, None)
        values.update(level)
    return values
