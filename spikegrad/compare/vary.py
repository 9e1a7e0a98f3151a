"""Which settings of a comparison take several values: words to fields and values, checked."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spikegrad.errors import UserError, message, unknown
from spikegrad.train.config import OPTIONS
from spikegrad.train.fields import coerce
from spikegrad.train.synonyms import SYNONYMS

__all__ = ["combinations", "values_of", "words_of"]

Vary = Mapping[str, Sequence[Any]]

_JOIN = "+"
"""Between the values of one list, since commas stand between the variants."""
_NEVER = {
    "seed": "give the number of seeds: --seeds N, from --seed on",
    "dataset": "start one comparison for each data set: their accuracies cannot be ranked together",
    "out": "every run has its own folder inside that of the comparison",
}


def words_of(words: Iterable[str]) -> dict[str, list[str]]:
    """`FIELD=v1,v2` as a field and its values, not coerced yet.

    A value that is itself a list has `+` between its parts: `hidden=64,128+128` are two variants.

    Raises:
        UserError: no such form, or a field twice.

    >>> words_of(["learning-rate=1e-3,1e-2", "hidden=64,128+128"])
    {'learning_rate': ['1e-3', '1e-2'], 'hidden': ['64', '128,128']}
    """
    found: dict[str, list[str]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not text.strip():
            remedy = "for example learning_rate=1e-3,1e-2"
            raise UserError(message("expected FIELD=VALUE,VALUE", repr(word), remedy))
        if name in found:
            remedy = "give all of its values at once"
            raise UserError(message(f"expected {name} once", "it twice", remedy))
        parts = [part.strip() for part in text.split(",")]
        option = OPTIONS.get(name)
        if option is not None and option.listed:
            parts = [part.replace(_JOIN, ",") for part in parts]
        found[name] = parts
    return found


def values_of(vary: Vary) -> dict[str, list[Any]]:
    """The varied fields with their values, each of the field's type.

    Raises:
        UserError: an unknown field (with the close ones), one that cannot vary, a wrong value, no
            value, or one twice.

    >>> values_of({"slope": ["1", 2.0]})
    {'slope': [1.0, 2.0]}
    """
    found: dict[str, list[Any]] = {}
    for name, values in vary.items():
        if name not in OPTIONS:
            raise UserError(unknown("field to vary", name, OPTIONS, SYNONYMS))
        if name in _NEVER:
            expected = "expected a setting that tells variants apart"
            raise UserError(message(expected, name, _NEVER[name]))
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(message(f"expected a list of values for {name}", repr(values)))
        found[name] = [coerce(OPTIONS[name], value) for value in values]
        if not found[name]:
            raise UserError(message(f"expected a value of {name} to vary", "none"))
        double = [v for i, v in enumerate(found[name]) if v in found[name][:i]]
        if double:
            raise UserError(message(f"expected each value of {name} once", f"{double[0]} twice"))
    return found


def combinations(vary: Vary) -> list[dict[str, Any]]:
    """Every combination of the values, the last field changing first.

    >>> combinations({"epochs": [1, 2], "neuron": ["lif"]})
    [{'epochs': 1, 'neuron': 'lif'}, {'epochs': 2, 'neuron': 'lif'}]
    """
    return [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
