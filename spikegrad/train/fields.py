"""How a field of the config is declared, read and checked; `config.py` lists the fields themselves.

A field carries its help, its choices and its range in its metadata, so that the TOML file, the
command line and the error messages are all made from one declaration.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

from spikegrad.errors import UserError, message, unknown
from spikegrad.train.synonyms import SYNONYMS

__all__ = ["SET", "Option", "check_group", "coerce", "declare", "options_of", "unmet"]


SET = "set"
"""In `needs`: any value but the default."""

Needs = Mapping[str, tuple[Any, ...] | str]


@dataclasses.dataclass(frozen=True)
class Option:
    """One field of the config, as the command line and the file see it."""

    name: str
    group: str
    kind: Any
    default: Any
    help: str
    choices: Sequence[str] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    needs: Sequence[Needs] = ()

    @property
    def optional(self) -> bool:
        """Whether the field may be left unset (None)."""
        return type(None) in get_args(self.kind)

    @property
    def item(self) -> type:
        """The type of a value, or of the items of a list."""
        inner = [a for a in get_args(self.kind) if a not in (type(None), Ellipsis)]
        return inner[0] if inner else self.kind

    @property
    def listed(self) -> bool:
        """Whether the value is a list."""
        return get_origin(self.kind) is tuple

    @property
    def flag(self) -> str:
        """The option of the command line: `--learning-rate`."""
        return "--" + self.name.replace("_", "-")


def declare(
    default: Any,
    text: str,
    *,
    choices: Sequence[str] = (),
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    needs: Sequence[Needs] = (),
) -> Any:
    """A dataclass field: its help, its choices, its range, and what other fields it needs.

    The range is `least <= value <= most` and `above < value < below`. Nothing reads the field
    unless one of `needs` is met, each `{other field: the values it may have}`; `SET` stands for
    any value but the other field's default.
    """
    metadata = {
        "help": text,
        "choices": choices,
        "least": least,
        "most": most,
        "above": above,
        "below": below,
        "needs": needs,
    }
    return dataclasses.field(default=default, metadata=metadata)


def options_of(group: str, kind: type) -> dict[str, Option]:
    """The fields of a config group by name."""
    hints = get_type_hints(kind)
    return {
        f.name: Option(f.name, group, hints[f.name], f.default, **f.metadata)
        for f in dataclasses.fields(kind)
    }


def coerce(option: Option, value: Any) -> Any:
    """The value as the field's type, checked; text is parsed as the command line writes it.

    >>> coerce(Option("hidden", "network", tuple[int, ...], (), ""), "800,400")
    (800, 400)
    """
    if value is None or (option.optional and value in ("", "none")):
        if option.optional:
            return None
        raise TypeError(message(f"expected a value for {option.name}", "None"))
    if option.listed:
        if isinstance(value, str):
            value = _items(option, value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = [value]
        if not isinstance(value, (list, tuple)):
            raise TypeError(message(f"expected {option.name} as a list", repr(value)))
        return tuple(_checked(option, _scalar(option, part)) for part in value)
    return _checked(option, _scalar(option, value))


def unmet(option: Option, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, str]:
    """What keeps a field from being read: other fields, with what they would have to be.

    Args:
        option: the field; values: all fields; defaults: theirs.
    Returns:
        `{other field: words}`; empty when the field is read.

    >>> kappa = Option("kappa", "network", float, 0.2, "", needs=[{"neuron": ("alif",)}])
    >>> unmet(kappa, {"neuron": "lif"}, {"neuron": "lif"})
    {'neuron': 'neuron alif'}
    """
    found: dict[str, str] = {}
    for needs in option.needs:
        lacking = {}
        for other, allowed in needs.items():
            if allowed == SET and values[other] == defaults[other]:
                lacking[other] = f"{other} to be given"
            elif allowed != SET and values[other] not in allowed:
                words = " or ".join(str(value) for value in allowed if value not in (None, ""))
                lacking[other] = f"{other} {words}" if words else f"no {other}"
        if not lacking:
            return {}
        found = {**found, **{name: w for name, w in lacking.items() if name not in found}}
    return found


def check_group(values: Mapping[str, Any], options: Mapping[str, Option], where: str) -> None:
    """Every key is a field."""
    for name in values:
        if name not in options:
            raise UserError(unknown(f"option in {where}", name, options, SYNONYMS))


def _items(option: Option, text: str) -> list[str]:
    """The parts between commas; a text without any value is the empty list."""
    parts = [part.strip() for part in text.split(",")]
    if parts == [""]:
        return []
    if "" in parts:
        expected = f"expected a value between any two commas of {option.name}"
        raise UserError(message(expected, repr(text), "remove the extra comma"))
    return parts


def _scalar(option: Option, value: Any) -> Any:
    kind = option.item
    if kind is bool:
        words = {"true": True, "yes": True, "false": False, "no": False}
        value = words.get(value.lower(), value) if isinstance(value, str) else value
    elif kind in (int, float) and isinstance(value, str):
        try:
            value = kind(value)
        except ValueError:
            expected = f"expected {option.name} as {_WORDS[kind]}"
            raise UserError(message(expected, repr(value), _remedy(option))) from None
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not right:
        raise TypeError(
            message(f"expected {option.name} as {_WORDS[kind]}", repr(value), _remedy(option))
        )
    return value


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _checked(option: Option, value: Any) -> Any:
    if option.choices and value not in option.choices:
        raise UserError(unknown(option.name, value, option.choices))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            expected = f"expected a finite {option.name}"
            raise UserError(message(expected, str(value), _remedy(option)))
        for word, bound, holds in _bounds(option):
            if not holds(value, bound):
                expected = f"expected {option.name} {word} {_shown(bound)}"
                raise UserError(message(expected, _shown(value), _remedy(option)))
    return value


def _bounds(option: Option) -> list[tuple[str, float, Any]]:
    """The ends of a field's range: how they are written, the number, the comparison."""
    ends = (
        (">=", option.least, operator.ge),
        (">", option.above, operator.gt),
        ("<=", option.most, operator.le),
        ("<", option.below, operator.lt),
    )
    return [(word, bound, holds) for word, bound, holds in ends if bound is not None]


def _remedy(option: Option) -> str:
    """What to give instead: its kind, its range, and the default as an example.

    >>> _remedy(Option("epochs", "training", int, 10, "passes", least=1))
    'give a whole number >= 1, for example 10'
    """
    ends = " and ".join(f"{word} {_shown(bound)}" for word, bound, _ in _bounds(option))
    default = option.default[:1] if option.listed else (option.default,)
    numbers = [x for x in default if isinstance(x, (int, float)) and not isinstance(x, bool)]
    example = f", for example {_shown(numbers[0])}" if numbers else ""
    return f"give {_WORDS[option.item]}{' ' if ends else ''}{ends}{example}"


def _shown(value: float) -> str:
    """A number as people write it; whole ones in full."""
    return str(value) if isinstance(value, int) else f"{value:g}"
