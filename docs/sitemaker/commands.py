"""The reference of the command line, from the program itself: one page a command."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import rich_click as click

from docs.sitemaker.docstrings import inline
from docs.sitemaker.rooms import heading, table
from spikegrad.cli.main import COMMANDS, cli

__all__ = ["command", "names", "overview"]


def names() -> list[str]:
    """Every command, in the order of `spikegrad --help`."""
    return list(COMMANDS)


def plain(text: str) -> str:
    """One paragraph of a help text, where options stand without backticks."""
    return inline(re.sub(r"(?<![\w`-])(--?[a-z][a-z-]*)", r"`\1`", text))


def texts(help_text: str) -> Iterator[str]:
    """The paragraphs of a help text; one that keeps its lines is literal."""
    for block in inspect.cleandoc(help_text).split("\n\n"):
        if block.startswith("\b"):
            yield from ["::", "", *["    " + line for line in block.splitlines()[1:]], ""]
        elif block.strip():
            yield from [plain(block), ""]


def options(context: Any, found: Any) -> Iterator[str]:
    """Options under the titles that the help page has."""
    groups: dict[str, list[Any]] = {}
    for option in found.get_params(context):
        if isinstance(option, click.Option) and not option.hidden:
            groups.setdefault(getattr(option, "panel", None) or "Options", []).append(option)
    for title in sorted(groups, key=list(groups).index):
        yield from [title, "-" * len(title), ""]
        for option in groups[title]:
            record = option.get_help_record(context)
            assert record is not None, option.name
            yield from [f"``{record[0]}``", "    " + plain(record[1] or "Show the help."), ""]


def command(name: str) -> str:
    """The page of one command."""
    top = click.Context(cli, info_name="spikegrad")
    found = cli.get_command(top, name)
    with click.Context(found, info_name=name, parent=top) as context:
        usage = " ".join([context.command_path, *found.collect_usage_pieces(context)])
        made = [*heading(f"spikegrad {name}"), "::", "", f"    {usage}", ""]
        made += texts(found.help or "")
        made += options(context, found)
    return "\n".join(made) + "\n"


def overview() -> str:
    """The page of all commands."""
    made = [*heading("Command line"), *texts(inspect.getdoc(cli.callback) or "")]
    rows = [
        (f":doc:`spikegrad {name} <commands/{name}>`", inline(COMMANDS[name][1]))
        for name in names()
    ]
    made += table(rows)
    made += [".. toctree::", "   :hidden:", "", *[f"   commands/{name}" for name in names()], ""]
    return "\n".join(made) + "\n"
