"""The table of a result: times, memory, ratios to the fastest peer and the ReLU network."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.networks.registry import IMPLEMENTATIONS

__all__ = ["ratios", "show", "words"]

Row = dict[str, Any]


def ratios(rows: list[Row]) -> list[tuple[float | None, float | None]]:
    """For each row of one workload: its median over the fastest peer's and over the ReLU network's.

    The fastest peer is the fastest with any surrogate; void rows do not count.
    """
    peers = [
        row["median_ms"]
        for row in rows
        if IMPLEMENTATIONS[row["implementation"]].role == "peer" and row["median_ms"] is not None
    ]
    floors = [row["median_ms"] for row in rows if row["implementation"] == "relu"]
    fastest, floor = min(peers, default=None), next(iter(floors), None)
    return [(over(row["median_ms"], fastest), over(row["median_ms"], floor)) for row in rows]


def over(value: float | None, reference: float | None) -> float | None:
    return None if value is None or not reference else value / reference


def words(result: dict[str, Any]) -> str:
    """Where a result was measured: CPU, instruction set, threads and torch.

    >>> words({"machine": {"processor": "A", "cores": 2}, "isa": "avx2", "threads": 1,
    ...        "torch": "2.13.0"})
    'A, 2 cores; isa avx2; 1 threads; torch 2.13.0'
    """
    machine = result["machine"]
    place = f"{machine['processor']}, {machine['cores']} cores"
    clock = "; processor time" if result.get("cpu_time") else ""
    where = f"{place}; isa {result['isa']}; {result['threads']} threads; torch {result['torch']}"
    return where + clock


def show(result: dict[str, Any], console: Console | None = None) -> None:
    """Print one table, a block of rows per workload, and why rows are void."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(width=150)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("", "implementation", "surrogate"):
        table.add_column(heading, no_wrap=True)
    for heading in ("ms", "min", "max", "MB", "activity", "time / peer", "time / ReLU"):
        table.add_column(heading, justify="right", no_wrap=True)
    said = []
    for name in dict.fromkeys(row["workload"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["workload"] == name]
        for index, (row, (peer, relu)) in enumerate(zip(rows, ratios(rows), strict=True)):
            who = f"{row['implementation']} {row['version']}".strip()
            times = [number(row[key]) for key in ("median_ms", "min_ms", "max_ms", "peak_mb")]
            if row["void"] is not None:
                times[0] = "void"
                said.append(f"{name} {who}, {row['surrogate']}: void: {row['void']}")
            activity = "-" if row["activity"] is None else f"{row['activity']:.4f}"
            style = "bold" if IMPLEMENTATIONS[row["implementation"]].role == "ours" else None
            head = name if index == 0 else ""
            cells = (head, who, row["surrogate"], *times, activity, number(peer), number(relu))
            table.add_row(*cells, style=style, end_section=index == len(rows) - 1)
    console.print(words(result), highlight=False, soft_wrap=True)
    console.print(table, highlight=False)
    for line in said:
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    busy = [row for row in result["rows"] if (row["idle_cpu"] or 0.0) > 0.05]
    for row in busy:
        text = f"{row['implementation']} used {row['idle_cpu']:.0%} of a core while it waited"
        console.print(f"{row['workload']}: {text}", style="yellow", highlight=False)


def number(value: float | None) -> str:
    """Three significant digits, no exponent."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
