"""Covering designs: few settings in which every pair of choices meets at least once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["covering"]

Row = dict[str, Any]


def covering(
    axes: Mapping[str, Sequence[Any]], forbidden: Callable[[Row], bool] = lambda row: False
) -> list[Row]:
    """Settings that hold every pair of values of two axes, less the forbidden ones.

    forbidden: of a partial setting, whether no whole setting may contain it. Always the same rows.
    """
    chance = random.Random(0)
    names = sorted(axes, key=lambda name: -len(axes[name]))
    left = {
        ((a, i), (b, j)): None
        for a, b in itertools.combinations(names, 2)
        for i in range(len(axes[a]))
        for j in range(len(axes[b]))
        if not forbidden({a: axes[a][i], b: axes[b][j]})
    }
    rows = []
    while left:
        start = next(iter(left))
        made = max((grown(axes, names, dict(start), left, forbidden, chance) for _ in range(4)),
                   key=lambda row: len(pairs(names, row) & left.keys()))  # fmt: skip
        if start not in pairs(names, made):
            raise ValueError(f"no setting holds {start}")
        for pair in pairs(names, made):
            left.pop(pair, None)
        rows.append({name: axes[name][i] for name, i in made.items()})
    return rows


def grown(
    axes: Mapping[str, Sequence[Any]],
    names: list[str],
    row: dict[str, int],
    left: dict[Any, None],
    forbidden: Callable[[Row], bool],
    chance: random.Random,
) -> dict[str, int]:
    """A whole setting from a part: each axis takes what meets the most pairs that are left."""
    rest = [name for name in names if name not in row]
    chance.shuffle(rest)
    for name in rest:
        places = list(range(len(axes[name])))
        chance.shuffle(places)
        fitting = [
            i for i in places
            if not forbidden({k: axes[k][j] for k, j in row.items()} | {name: axes[name][i]})
        ]  # fmt: skip
        if not fitting:
            return row
        row[name] = max(fitting, key=lambda i: len(pairs(names, {**row, name: i}) & left.keys()))
    return row


def pairs(names: list[str], row: Mapping[str, int]) -> set[Any]:
    """Every pair of choices in a setting."""
    there = [(name, row[name]) for name in names if name in row]
    return set(itertools.combinations(there, 2))
