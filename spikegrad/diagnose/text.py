"""Figures as text: tables whose columns line up, without any package for it, and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

__all__ = ["columns", "finite", "number", "share"]


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


def share(value: float | None) -> str:
    """A share in a table as a percentage, `-` for none.

    >>> share(0.1234), share(None)
    ('12.3 %', '-')
    """
    return "-" if value is None else f"{100 * value:.3g} %"


def finite(value: float | None) -> float | str | None:
    """What JSON can hold: "inf" and "nan" stand for those numbers.

    >>> finite(0.5), finite(math.inf), finite(None)
    (0.5, 'inf', None)
    """
    return value if value is None or math.isfinite(value) else str(value)
