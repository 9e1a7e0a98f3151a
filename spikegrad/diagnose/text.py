"""Plain tables: columns that line up, without any package for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["columns", "number"]


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of words under a header, the first column to the left and the others to the right.

    >>> print(columns(["layer", "rate"], [["1", "0.05"], ["hidden", "1"]]))
    layer   rate
    1       0.05
    hidden     1
    """
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def number(value: float | None) -> str:
    """A figure in a table: three digits, `-` for none.

    >>> number(0.123456), number(0.0), number(None)
    ('0.123', '0', '-')
    """
    return "-" if value is None else f"{value:.3g}"
