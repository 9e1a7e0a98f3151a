"""Which values a run gets: command line over file over the data set's defaults over the fields'.

A value from a lower level never stands in the way of a higher one: naming a surrogate takes its
own slope and normalisation, naming a time constant takes the decay's place, and what another model
or neuron does not read is put aside. Given at the same level or above, it is an error.

The recipes shipped with the package are TOML files in `recipes/`; the one named like a data set
holds that data set's defaults, and any of them can be asked for by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from spikegrad.errors import UserError, message, unknown
from spikegrad.train.config import OPTIONS, Config, gather
from spikegrad.train.fields import check_group, coerce
from spikegrad.train.together import not_read, unread
from spikegrad.train.toml import from_toml, read_file

__all__ = ["absolute", "read", "recipes", "resolve"]

_INSTEAD = {
    "tau_mem": ("beta",),
    "beta": ("tau_mem",),
    "surrogate": ("slope", "surrogate_normalisation"),
}
"""Setting a field at a level unsets these below it."""

_PATHS = ("data", "folder")
_FILE = 1  # the level of a file between the data set's defaults (0) and the options (2)


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
    path = Path(name)
    if path.exists() or path.suffix or "/" in name or "\\" in name:
        return absolute(read_file(path), path.parent)
    raise UserError(unknown("recipe", name, recipes()) + ", or give the path of a .toml file")


def resolve(options: Mapping[str, Any] | None = None, *, config: str | None = None) -> Config:
    """The config of a run from its three sources.

    Args:
        options: fields set on the command line, or from Python; they win. Their paths are
            relative to the working folder, those in a file to the file's.
        config: a recipe or a TOML file; it wins over the data set's defaults.
    Raises:
        UserError: an unknown name or a wrong value.

    >>> resolve({"dataset": "mnist", "epochs": 2}).training.epochs
    2
    """
    given = dict(options or {})
    check_group(given, OPTIONS, "the options")
    given = absolute({name: coerce(OPTIONS[name], value) for name, value in given.items()})
    file = read(config) if config else {}
    _own_data(given, file)
    dataset = given.get("dataset", file.get("dataset", OPTIONS["dataset"].default))
    base = read(dataset) if dataset in recipes() else {}
    values, levels = _layered(base, file, given)
    return gather(_read_ones(values, levels))


def absolute(values: Mapping[str, Any], folder: Path | None = None) -> dict[str, Any]:
    """The fields with their paths made absolute, from a folder (None: the working folder).

    >>> absolute({"data": "mine.npz"}, Path("/there"))["data"]
    '/there/mine.npz'
    """
    start, found = (folder or Path()).resolve(), dict(values)
    for name in _PATHS:
        if found.get(name):
            found[name] = str((start / Path(found[name]).expanduser()).resolve())
    return found


def _own_data(given: dict[str, Any], file: dict[str, Any]) -> None:
    """Own arrays have no data set's defaults; a data set named above them puts them aside."""
    if given.get("data"):
        if "dataset" in given:
            expected = "expected either the name of a data set or --data with your own arrays"
            got = f"both, {given['dataset']} and {given['data']}"
            raise UserError(message(expected, got, "omit one of them"))
        given["dataset"] = Path(given["data"]).stem
    elif "dataset" in given:
        file.pop("data", None)
        file.pop("sequence", None)
    elif file.get("data"):
        file["dataset"] = Path(file["data"]).stem


def _layered(*levels: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """The value of every field that is set, and its level."""
    values: dict[str, Any] = {}
    for level in levels:
        for name in level:
            for other in _INSTEAD.get(name, ()):
                values.pop(other, None)
        values.update(level)
    return values, {
        name: max(i for i, level in enumerate(levels) if name in level) for name in values
    }


def _read_ones(values: dict[str, Any], levels: dict[str, int]) -> dict[str, Any]:
    """The fields without those from a lower level that nothing reads."""
    whole = {name: values.get(name, option.default) for name, option in OPTIONS.items()}
    kept = dict(values)
    for name, needs in unread(whole, OPTIONS).items():
        if name not in values:
            continue
        above = any(levels.get(other, -1) > levels[name] for other in needs)
        listed = levels[name] == _FILE and values[name] == OPTIONS[name].default
        if not (above or listed):
            raise not_read(name, whole, needs)
        del kept[name]
    if levels.get("model", -1) > levels.get("readout", -1) and _other_readout(whole):
        kept.pop("readout", None)
    return kept


def _other_readout(values: Mapping[str, Any]) -> bool:
    """Whether the readout belongs to another model."""
    others = {"article": ("linear", "spikes"), "sew_resnet": ("spikes", "li", "rate")}
    return values["readout"] in others.get(values["model"], ("rate",))
