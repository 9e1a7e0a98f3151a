"""The settings of a run, what its user noted, and the versions it ran with."""

from __future__ import annotations

import json
from typing import Any

from spikegrad.report.page.parts import Block, table, text
from spikegrad.report.recorded import Record

__all__ = ["settings"]


def settings(record: Record) -> list[Block]:
    """Tables of config, notes and versions."""
    rows = [
        [group, name, word(value)]
        for group, fields in record.settings.items()
        for name, value in fields.items()
    ]
    result = record.run.result
    found = [
        table("config", "Settings", ["group", "field", "value"], rows),
        table("versions", "Versions", ["package", "version"], versions(result)),
    ]
    about = result.get("about")
    if isinstance(about, dict):
        notes = [[key, word(value)] for key, value in about.items()]
        found.append(table("about", "Notes", ["note", "value"], notes))
    keys = ("device", "processes", "seed", "ended_by")
    machine = [[key.replace("_", " "), result[key]] for key in keys if result.get(key) is not None]
    found.append(table("machine", "Run", ["what", "value"], machine))
    if not record.settings and record.text:
        found.append(text(*record.text.splitlines()[:200]))
    return found


def versions(result: dict[str, Any]) -> list[list[Any]]:
    """What the result depends on."""
    held = result.get("versions")
    return [[name, value] for name, value in held.items()] if isinstance(held, dict) else []


def word(value: Any) -> str:
    """A value as one would write it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
