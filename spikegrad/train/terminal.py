"""The terminal: where everything for people is printed, as it is and harmless."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spikegrad.errors import printable

__all__ = ["Screen", "plain_table"]


class Screen(Console):
    """A console that prints text as it is: no markup, no emoji names, no control characters.

    A class may be called "[/bold]" or ":smile:", a file may have an ESC in its name; both reach the
    reader as they are written (see `errors.printable`).

    >>> Screen().print("[/bold] :smile:")
    [/bold] :smile:
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def say(self, text: str, *, style: str = "") -> None:
        """Print a line that is never broken, so that what it names can be copied."""
        self.print(text, style=style, soft_wrap=True)

    def render_str(self, text: str, **options: Any) -> Text:
        """Every text that is printed, and every cell of a table, comes through here."""
        return super().render_str(printable(text), **options)


def plain_table(*headings: str, gap: int = 2) -> Table:
    """A table without lines, `gap` spaces between its columns; no headings: no heading row."""
    return Table(
        *headings, box=None, padding=(0, gap, 0, 0), pad_edge=False, show_header=bool(headings)
    )
