"""From the verdicts of `spikegrad verify` to the content of their page."""

from __future__ import annotations

from typing import Any

from spikegrad.report.page.parts import Block, cleaned, tab, table, tiles
from spikegrad.version import __version__

__all__ = ["verification_content"]


def verification_content(held: dict[str, Any]) -> dict[str, Any]:
    """What the page of a verification shows, as values that JSON can hold.

    held: what `spikegrad.verify.run(...).data()` returns.
    """
    checks = held["checks"]
    words = [each["verdict"] for each in checks]
    count = {word: words.count(word) for word in ("holds", "FAILS", "not run")}
    parts = [
        tiles(
            [
                ("hold", f"{count['holds']} of {len(checks)}", "statements"),
                ("fail", str(count["FAILS"]) if count["FAILS"] else "none", ""),
                ("not run", str(count["not run"]) if count["not run"] else "none", ""),
                ("time", f"{held['seconds']:.1f} s", f"seed {held['seed']}"),
            ]
        ),
        wrong(checks),
        verdicts(checks),
    ]
    made = [tab("checks", "Checks", parts), tab("figures", "Figures", [measured(checks)])]
    return cleaned(
        {
            "title": "The theory and this installation",
            "subtitle": f"spikegrad verify  ·  {len(checks)} checks",
            "state": "finished",
            "version": __version__,
            "notes": [],
            "tabs": [each for each in made if each is not None],
        }
    )


def wrong(checks: list[dict[str, Any]]) -> Block:
    """The checks that fail, as cards."""
    cards = [
        {
            "kind": each["name"],
            "layer": "",
            "severity": "error",
            "problem": f"{each['name']} fails: {each['figure']}",
            "why": each["statement"],
            "advice": each["remedy"],
            "when": f"{each['seconds']:.1f} s",
        }
        for each in checks
        if each["verdict"] == "FAILS"
    ]
    return {"kind": "findings", "id": "failed", "findings": cards} if cards else {}


def verdicts(checks: list[dict[str, Any]]) -> Block:
    """Statement, verdict, figure and source of each."""
    keys = ("name", "verdict", "statement", "figure", "source", "seconds")
    rows = [[each[key] for key in keys] for each in checks]
    columns = ["check", "verdict", "statement", "the figure that says most", "source", "seconds"]
    return table("verdicts", "Checks", columns, rows)


def measured(checks: list[dict[str, Any]]) -> Block:
    """Every figure with its limits."""
    rows = [
        [
            each["name"],
            one["what"],
            one["value"],
            one["least"],
            one["most"],
            "yes" if one["holds"] else "NO",
        ]
        for each in checks
        for one in each["figures"]
    ]
    columns = ["check", "what was measured", "value", "at least", "at most", "holds"]
    return table("figures", "Figures", columns, rows)
