"""The reference: one page a room, of every public name, from the docstrings."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from docs.sitemaker.docstrings import inline, names_of, read

__all__ = ["ROOMS", "home", "overview", "page", "public"]

ROOMS = {
    "nn": "Layers, networks, initialisation, recording",
    "neurons": "The library of neurons",
    "surrogate": "Surrogates",
    "functional": "Equations of the neurons, losses, encoders",
    "data": "Data sets and batches",
    "train": "Training, settings, results",
    "compare": "Comparisons with a test",
    "diagnose": "Measurements of a network, findings, repairs",
    "verify": "The theory as checks",
    "analysis": "Measures of spike trains",
    "report": "Figures and pages",
    "ragged": "Sequences of different length, recordings as events",
    "kernels": "Backends",
    "step": "A neuron as one step",
    "types": "States and words",
    "errors": "Errors and warnings",
}
"""{room: what is in it}, in the order of the site."""


def alphabetical(name: str) -> tuple[str, str]:
    """The order of names: `Schedule` before `schedule`, always."""
    return name.lower(), name


def public(room: str) -> list[str]:
    """Every public name of a room, sorted."""
    module = import_module(f"spikegrad.{room}")
    models = module.models() if room == "neurons" else {}
    return sorted({*module.__all__, *models}, key=alphabetical)


def first_sentence(thing: Any) -> str:
    """The first paragraph of a docstring up to its first full stop."""
    text = (inspect.getdoc(thing) or "").split("\n\n")[0]
    text = " ".join(text.split())
    end = text.find(". ")
    return text if end < 0 else text[: end + 1]


def heading(title: str) -> list[str]:
    return [title, "=" * len(title), ""]


def table(rows: list[tuple[str, str]]) -> list[str]:
    """Two columns: a name that is a link, and what it is."""
    made = [".. list-table::", "   :widths: auto", "   :class: names", ""]
    for name, text in rows:
        made += [f"   * - {name}", f"     - {text}"]
    return [*made, ""]


def described(room: str, name: str) -> list[str]:
    """One entry, in full."""
    full = f"spikegrad.{room}.{name}"
    thing = getattr(import_module(f"spikegrad.{room}"), name)
    if inspect.ismodule(thing):
        inner = [each for each in thing.__all__ if callable(getattr(thing, each))]
        made = [f".. py:module:: {full}", "", inline(first_sentence(thing)), ""]
        for each in inner:
            made += entry("autofunction", f"{full}.{each}")
        return made
    if isinstance(thing, type):
        kind = "autoexception" if issubclass(thing, BaseException) else "autoclass"
        options = ["members"] if kind == "autoclass" else []
        return entry(kind, full, options)
    if inspect.isroutine(thing):
        return entry("autofunction", full)
    return entry("autodata", full, ["no-value"])


def entry(kind: str, full: str, options: list[str] | None = None) -> list[str]:
    return [f".. {kind}:: {full}", *[f"   :{option}:" for option in options or ()], ""]


def role(room: str, name: str, shown: str) -> str:
    """A link to an entry."""
    thing = getattr(import_module(f"spikegrad.{room}"), name)
    kind = "class" if isinstance(thing, type) else "func" if inspect.isroutine(thing) else "data"
    kind = "mod" if inspect.ismodule(thing) else kind
    if kind == "class" and issubclass(thing, BaseException):
        kind = "exc"
    return f":py:{kind}:`{shown} <spikegrad.{room}.{name}>`"


def page(room: str) -> str:
    """The page of one room."""
    module = import_module(f"spikegrad.{room}")
    names = public(room)
    rows = [(role(room, name, name), inline(summary_of(getattr(module, name)))) for name in names]
    made = [*heading(f"spikegrad.{room}"), f".. py:module:: spikegrad.{room}", ""]
    made += read((module.__doc__ or "").splitlines(), names_of(module))
    made += table(rows)
    for name in names:
        made += described(room, name)
    return "\n".join(made) + "\n"


def summary_of(thing: Any) -> str:
    """What a name is, in a line; a word or a type that is data has no docstring of its own."""
    if isinstance(thing, type) or inspect.isroutine(thing) or inspect.ismodule(thing):
        return first_sentence(thing)
    return f"`{thing}`".replace("typing.", "") if "Literal" in str(thing) else "A value."


def home(name: str) -> str:
    """The room of a name of `spikegrad`."""
    import spikegrad

    thing = getattr(spikegrad, name)
    for room in ROOMS:
        module = import_module(f"spikegrad.{room}")
        if name in public(room) and getattr(module, name) is thing:
            return room
    raise LookupError(f"spikegrad.{name} is in no room of the reference")


def overview() -> str:
    """The page of `spikegrad` itself: every name at the top, with its room."""
    import spikegrad

    made = [*heading("spikegrad"), ".. py:module:: spikegrad", ""]
    made += read((spikegrad.__doc__ or "").splitlines(), set())
    made += ["``import spikegrad as sg``: these names are at the top.", ""]
    rows = []
    every = {*spikegrad.__all__, *import_module("spikegrad.neurons").models()} - {"__version__"}
    for name in sorted(every, key=alphabetical):
        thing = getattr(spikegrad, name)
        if inspect.ismodule(thing):
            rows.append((f":doc:`sg.{name} <{name}>`", f"{ROOMS[name]} (a room)."))
        else:
            rows.append((role(home(name), name, f"sg.{name}"), inline(summary_of(thing))))
    rows.append(("``sg.__version__``", "The version, a string."))
    made += table(rows)
    made += ["Rooms", "-----", ""]
    made += table([(f":doc:`spikegrad.{room} <{room}>`", text) for room, text in ROOMS.items()])
    return "\n".join(made) + "\n"
