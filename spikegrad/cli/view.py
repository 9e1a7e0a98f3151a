"""A run in a terminal while it trains: progress, curves, rates and findings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from spikegrad.errors import printable
from spikegrad.report.read import layer_title
from spikegrad.report.recorded import Record, read_record
from spikegrad.train.progress import describe
from spikegrad.train.terminal import Screen, plain_table

__all__ = ["follow", "view"]

EVERY = 1.0  # seconds between two looks
WIDTH = 40  # of a curve, in characters
BLOCKS, PLAIN = "▁▂▃▄▅▆▇█", "_.-=+*#@"
_STYLES = {"error": "bold red", "warning": "yellow"}
_MOST = 6  # findings that are shown


def follow(run: str, *, every: float = EVERY) -> None:
    """Show a run until it is finished or failed: a view that moves in a terminal, elsewhere a line
    an epoch.

    Raises:
        UserError: no run folder, or a damaged file in it.
    """
    console, record = Screen(), read_record(run)
    if not console.is_terminal:
        lines(console, record, every)
        return
    ascii_only = console.options.ascii_only
    with Live(view(record, ascii_only), console=console, auto_refresh=False) as live:
        while record.state == "training":
            time.sleep(every)
            record = read_record(run)
            live.update(view(record, ascii_only), refresh=True)


def lines(console: Screen, record: Record, every: float) -> None:
    """One line for each epoch and each finding, for logs and pipes."""
    shown, found = 0, 0
    while True:
        titles = record.run.result.get("layers") or {}
        total = epochs_of(record)
        for entry in record.run.epochs[shown:]:
            console.say(describe(entry, total, titles))
        for finding in record.findings[found:]:
            console.say(finding_line(finding))
        shown, found = len(record.run.epochs), len(record.findings)
        if record.state == "failed":
            console.say(f"failed: {record.failure}", style="bold red")
        if record.state != "training":
            return
        time.sleep(every)
        record = read_record(record.run.folder)


def view(record: Record, ascii_only: bool = False) -> RenderableType:
    """The run as it is now."""
    state = "in training" if record.state == "training" else record.state
    if record.state == "failed":
        state += f": {record.failure}"
    parts: list[RenderableType] = [
        Text(printable(f"{Path(record.run.folder)}: {state}"), style="bold")
    ]
    parts += [progress(record), curves(record, ascii_only), rates(record)]
    notable = [f for f in record.findings if f.get("severity") != "info"]
    for finding in notable[-_MOST:]:
        style = _STYLES.get(str(finding.get("severity")), "")
        parts.append(Text(printable(finding_line(finding)), style=style))
    return Group(*parts)


def epochs_of(record: Record) -> int:
    """How many epochs the run is to have."""
    total = record.setting("training", "epochs")
    done = len(record.run.epochs)
    return total if isinstance(total, int) and total >= done else max(done, 1)


def progress(record: Record) -> RenderableType:
    """A bar with the epochs that are done, and the time left."""
    total, done = epochs_of(record), len(record.run.epochs)
    seconds = [e["seconds"] for e in record.run.epochs if isinstance(e.get("seconds"), float)]
    said = f"{done} of {total} epochs"
    if seconds and record.state == "training":
        said += f", about {sum(seconds) / len(seconds) * (total - done):.0f} s left"
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row(ProgressBar(total=total, completed=done, width=WIDTH), said)
    return table


def curves(record: Record, ascii_only: bool) -> RenderableType:
    """Losses and accuracies: a small curve, and the last figure."""
    table = plain_table()
    for key in ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "gradient_norm"):
        values = [entry.get(key) for entry in record.run.epochs]
        known = [float(v) for v in values if isinstance(v, int | float)]
        if known:
            table.add_row(key.replace("_", " "), curve(known, ascii_only), f"{known[-1]:.4g}")
    if not table.row_count:
        yet = " yet" if record.state == "training" else ""
        return Text(f"the first epoch is not done{yet}")
    return table


def curve(values: Sequence[float], ascii_only: bool = False) -> str:
    """Values as a row of characters, the last `WIDTH` of them.

    >>> curve([0.0, 0.5, 1.0], ascii_only=True)
    '_+@'
    """
    marks = PLAIN if ascii_only else BLOCKS
    shown = [v for v in values[-WIDTH:] if v == v and abs(v) != float("inf")]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    scale = (len(marks) - 1) / (high - low) if high > low else 0.0
    return "".join(marks[round((v - low) * scale)] for v in shown)


def rates(record: Record) -> RenderableType:
    """The firing rate of each layer after the last epoch."""
    last: dict[str, Any] = record.run.epochs[-1] if record.run.epochs else {}
    held = last.get("firing_rates")
    if not isinstance(held, dict) or not held:
        return Text("")
    titles = record.run.result.get("layers") or {}
    table = plain_table("layer", "spikes per neuron and step")
    for name, rate in held.items():
        table.add_row(printable(str(titles.get(name) or layer_title(name))), f"{rate:.4f}")
    return table


def finding_line(finding: dict[str, Any]) -> str:
    """A finding with its step."""
    step = finding.get("step")
    when = f"step {step}" if step else "before training"
    return f"{when}: {finding.get('line')}"
