"""How measurements look in a notebook: tables in HTML, and lists that print as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, TypeVar

from spikegrad.diagnose.finding import Finding
from spikegrad.diagnose.text import columns, number
from spikegrad.errors import printable

__all__ = ["Findings", "Listed", "html_findings", "html_lines", "html_table"]

T = TypeVar("T")

_COLOURS = {"error": "#b3261e", "warning": "#8a5a00", "info": "#0b6b8a"}


def html_table(header: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> str:
    """Rows under a header as HTML; the first column to the left, the others to the right.

    >>> html_table(["layer"], [["<b>"]])
    '<table><thead><tr><th style="text-align:left">layer</th></tr></thead><tbody><tr>\
<td style="text-align:left">&lt;b&gt;</td></tr></tbody></table>'
    """

    def cells(row: Sequence[Any], tag: str) -> str:
        sides = ["left", *["right"] * (len(row) - 1)]
        return "".join(
            f'<{tag} style="text-align:{side}">{safe(value)}</{tag}>'
            for value, side in zip(row, sides, strict=True)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    caption = f'<caption style="text-align:left">{safe(title)}</caption>' if title else ""
    head = f"<thead><tr>{cells(header, 'th')}</tr></thead>"
    return f"<table>{caption}{head}<tbody>{body}</tbody></table>"


def html_lines(*lines: str) -> str:
    """Lines of text as HTML."""
    return "".join(f"<p>{safe(line)}</p>" for line in lines)


def html_findings(findings: Iterable[Finding]) -> str:
    """Findings as HTML, a line each."""
    found = [
        f'<li><b style="color:{_COLOURS[each.severity]}">{each.severity}</b>: '
        f"{safe(each.line())}</li>"
        for each in findings
    ]
    return f"<ul>{''.join(found)}</ul>" if found else "<p>no finding</p>"


def safe(value: Any) -> str:
    """A value as text that HTML shows as it is."""
    return escape(printable(str(value)))


class Listed(list[T]):
    """A list that prints as a table; what its members have in the columns is said by `row_of`."""

    header: tuple[str, ...] = ()

    @staticmethod
    def row_of(each: Any) -> list[str]:
        """The cells of a member."""
        raise NotImplementedError

    def table(self) -> str:
        """All members as text."""
        return columns(self.header, [self.row_of(each) for each in self])

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return html_table(self.header, [self.row_of(each) for each in self])


class Findings(Listed[Finding]):
    """Findings in a list, the worst first; printed they are a table.

    >>> found = Findings([Finding("silent", "2", "error", "never fires", 0.0, "--calibrate 0.05")])
    >>> print(found)
    severity  layer      finding  figure        what to do
    error         2  never fires       0  --calibrate 0.05
    >>> print(Findings())
    no finding
    """

    header = ("severity", "layer", "finding", "figure", "what to do")

    @staticmethod
    def row_of(each: Finding) -> list[str]:
        """The cells of a finding."""
        return [each.severity, each.layer or "-", each.problem, number(each.measure), each.advice]

    def __str__(self) -> str:
        return self.table() if self else "no finding"

    def _repr_html_(self) -> str:
        return html_findings(self)
