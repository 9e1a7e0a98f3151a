"""The config as TOML: read with every key checked, written with every field under its help."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from spikegrad.errors import UserError, message, unknown
from spikegrad.train.config import GROUPS, OPTIONS, Config, flatten
from spikegrad.train.fields import Option, coerce
from spikegrad.train.own import is_own, reads
from spikegrad.train.together import unread

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["from_toml", "read_file", "to_toml"]


def from_toml(text: str, *, where: str = "the config") -> dict[str, Any]:
    """The fields that a TOML text sets, by name and checked; the others are left out.

    Args:
        text: tables `[data]`, `[network]`, `[training]`, `[run]` with the fields as keys.
        where: what to call the text in messages.
    Raises:
        UserError: no TOML, an unknown table or key, a wrong value.

    >>> from_toml("[training]\\nepochs = 3")
    {'epochs': 3}
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(message(f"expected TOML in {where}", f"got {error}")) from None
    values: dict[str, Any] = {}
    for group, table in tables.items():
        if group not in GROUPS:
            raise UserError(_misplaced(group, where))
        if not isinstance(table, dict):
            remedy = f"write [{group}], and its fields below"
            expected = f"expected [{group}] as a table in {where}"
            raise UserError(message(expected, repr(table), remedy))
        known = {name: option for name, option in OPTIONS.items() if option.group == group}
        for name, value in table.items():
            if name not in known:
                raise UserError(_not_there(name, group, where, known))
            values[name] = _coerced(name, value, where)
    return values


def to_toml(config: Config, instead: Mapping[str, str] | None = None) -> str:
    """The config as TOML: every field under its help; one unset or not read as a comment.

    Args:
        config: all settings.
        instead: fields that something of the caller's own stands for, and what to say of it.
    """
    lines, idle, own = [], unread(flatten(config), OPTIONS), is_own(config)
    for group in GROUPS:
        lines.append(f"[{group}]")
        for name, option in OPTIONS.items():
            if option.group != group:
                continue
            value = getattr(getattr(config, group), name)
            value = list(value) if isinstance(value, tuple) else value
            choices = f" ({', '.join(option.choices)})" if option.choices else ""
            lines.append(f"# {option.help}{choices}")
            if own and not reads(name) and name != "dataset":
                lines.append(f"# {name} is not used: network and data are your own")
            elif instead and name in instead:
                lines.append(f"# {name} is not used: {instead[name]}")
            elif name in idle:
                words = " and ".join(idle[name].values())
                lines.append(f"# {name} is not used: it needs {words}")
            else:
                lines.append(f"# {name} is not set" if value is None else _line(name, value))
        lines.append("")
    return "\n".join(lines)


def read_file(path: Path) -> dict[str, Any]:
    """The fields that a TOML file sets."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(message("expected a config file", f"{path}: {reason}")) from None
    except UnicodeDecodeError:
        raise UserError(message("expected a config file", f"{path}: not UTF-8 text")) from None
    return from_toml(text, where=str(path))


def _line(name: str, value: Any) -> str:
    if isinstance(value, list):
        items = [_line(name, item).split(" = ", 1)[1] for item in value]
        return f"{name} = [{', '.join(items)}]"
    return tomli_w.dumps({name: value}).strip()


def _coerced(name: str, value: Any, where: str) -> Any:
    try:
        return coerce(OPTIONS[name], value)
    except (UserError, TypeError) as error:
        raise UserError(f"{where}: {error}") from None


def _misplaced(name: str, where: str) -> str:
    if name in OPTIONS:
        expected = f"expected {name} in the table [{OPTIONS[name].group}] of {where}"
        return message(
            expected, "it at the top of the file", f"write [{OPTIONS[name].group}] above it"
        )
    return unknown(f"table in {where}", name, GROUPS)


def _not_there(name: str, group: str, where: str, known: Mapping[str, Option]) -> str:
    if name in OPTIONS:
        expected = f"expected {name} in the table [{OPTIONS[name].group}] of {where}"
        return message(expected, f"it in [{group}]")
    return unknown(f"option of [{group}] in {where}", name, known)
