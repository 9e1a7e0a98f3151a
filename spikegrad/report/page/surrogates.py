"""The surrogate explorer: tables of the surrogates, and where the membranes of each layer are."""

from __future__ import annotations

from typing import Any

from spikegrad.report.page.parts import Block, text
from spikegrad.report.read import layer_title
from spikegrad.report.recorded import Record

__all__ = ["surrogates"]


def surrogates(record: Record) -> list[Block]:
    """The explorer; empty where no layer has a surrogate."""
    tables = record.measures.get("surrogates") or {}
    layers: list[dict[str, Any]] = []
    kinds: list[dict[str, Any]] = []
    known: dict[str, int] = {}
    seen = {each["name"]: each for each in (record.measures.get("health") or {}).get("layers", [])}
    for name, held in tables.items():
        shape = {key: held[key] for key in ("z", "p", "P")}
        place = known.setdefault(repr(shape), len(kinds))
        if place == len(kinds):
            kinds.append(shape)
        layers.append(layer(record, name, held, place, seen.get(name, {})))
    if not layers:
        return []
    return [
        text(
            "With hard spikes the derivative of a neuron's output is 0 almost everywhere; training "
            "uses the surrogate derivative instead, at the distance u − θ of each membrane to its "
            "threshold. Move the slope, and see which membranes of this network would pass a "
            "gradient on. Nothing is trained again."
        ),
        {"kind": "surrogate", "id": "surrogate", "layers": layers, "tables": kinds},
    ]


def layer(
    record: Record, name: str, held: dict[str, Any], place: int, seen: dict[str, Any]
) -> dict[str, Any]:
    """One layer: its surrogate at the slope of training, and the histogram of its membranes."""
    titles = record.measures.get("titles") or {}
    keys = ("name", "text", "formula", "source", "slope", "slopes", "has_slope", "normalisation")
    return {
        "title": titles.get(name) or layer_title(name),
        "table": place,
        "distances": seen.get("distances"),
        **{key: held[key] for key in (*keys, "gain", "peak")},
    }
