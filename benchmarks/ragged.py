"""`python -m benchmarks.ragged`: samples of different length beside the padded batch.

As in spoken digits: 700 inputs of which 3 % spike, 256 LIF neurons, feed-forward and recurrent, 20
leaky integrators; 100 steps, lengths from 30 to 100. Padding is silent, or spikes as the samples
do: products follow spikes, so that silent padding costs the padded batch little. "frame" makes the
padded batch from the recordings' events in every step, "events" passes them to the network.
Forward, cross-entropy of the mean over time and backward, in turns of one process; of each way the
least time counts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import spikegrad as sg
from benchmarks import meter, turns
from benchmarks.table import words
from spikegrad.functional import membrane_cross_entropy

__all__ = ["main"]

INPUTS, HIDDEN, OUTPUTS = 700, 256, 20
STEPS, SHORTEST = 100, 30
RATE = 0.03
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
COLUMNS = {
    "padded": ("padded_ms", ".1f"),
    "lengths": ("lengths_ms", ".1f"),
    "ratio": ("ratio", ".2f"),
    "frame": ("frame_ms", ".1f"),
    "events": ("events_ms", ".1f"),
    "events/frame": ("events_ratio", ".2f"),
    "padded MB": ("padded_mb", ".0f"),
    "lengths MB": ("lengths_mb", ".0f"),
}
"""Of the table: times and their ratios, lengths/padded the first; memory."""


def network(recurrent: bool) -> sg.Sequential:
    """With the same weights every time."""
    torch.manual_seed(0)
    hidden = sg.Recurrent(sg.LIF(10.0), HIDDEN) if recurrent else sg.LIF(10.0)
    return sg.Sequential(
        *(sg.Linear(INPUTS, HIDDEN), hidden, sg.Linear(HIDDEN, OUTPUTS), sg.LI(10.0))
    )


def batch(samples: int, padding: str = "silent") -> tuple[Tensor, Tensor, Tensor]:
    """x `[T, B, inputs]`, classes, lengths; padding: "silent" or "spikes"."""
    source = torch.Generator().manual_seed(0)
    x = (torch.rand(STEPS, samples, INPUTS, generator=source) < RATE).float()
    lengths = torch.randint(SHORTEST, STEPS + 1, (samples,), generator=source)
    if padding == "silent":
        x *= (torch.arange(STEPS)[:, None] < lengths)[..., None]
    return x, torch.randint(0, OUTPUTS, (samples,), generator=source), lengths


def ways(recurrent: bool, samples: int, padding: str) -> dict[str, Callable[[], object]]:
    """The padded batch, the same with its lengths, and where padding is silent both from events."""
    made, (x, labels, lengths) = network(recurrent), batch(samples, padding)
    events = events_of(x, lengths)

    def run(given: Tensor | sg.Events, own: Tensor | None, **named: Any) -> None:
        made.zero_grad()
        y, _ = made(given, **named)
        membrane_cross_entropy(y, labels, lengths=own).backward()

    found: dict[str, Callable[[], object]] = {
        "padded": lambda: run(x, None),
        "lengths": lambda: run(x, lengths, lengths=lengths),
    }
    if padding == "silent":
        found["frame"] = lambda: run(events.dense(), None)
        found["events"] = lambda: run(events, lengths)
    return found


def events_of(x: Tensor, lengths: Tensor) -> sg.Events:
    """The ones of the real steps."""
    recordings = []
    for sample, n in enumerate(lengths.tolist()):
        step, unit = x[:n, sample].nonzero(as_tuple=True)
        recordings.append(sg.Events(step, unit, x.shape[2], duration=n))
    return sg.Events.batch(recordings).padded_to(len(x))


def memory(run: Callable[[], object]) -> float:
    """What a run needs more than is there before it (MB)."""
    run()
    meter.settle()
    meter.reset_peak()
    before = meter.resident_mb()
    run()
    return meter.peak_mb() - before


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a row per network."""
    options = parsed(arguments)
    turns.start(options.threads)
    setting = turns.setting(options.threads)
    rows: list[dict[str, Any]] = []
    for recurrent, padding in product((False, True), ("silent", "spikes")):
        runs = ways(recurrent, options.samples, padding)
        least = turns.least_ms(runs, options.repeats, CLOCKS[options.clock])
        name = "recurrent" if recurrent else "feed-forward"
        row: dict[str, Any] = {"network": name, "padding": padding}
        row |= {f"{way}_ms": ms for way, ms in least.items()}
        row["ratio"] = least["lengths"] / least["padded"]
        if "events" in least:
            row["events_ratio"] = least["events"] / least["frame"]
        rows.append(row | {f"{way}_mb": memory(run) for way, run in runs.items()})
    share = float(batch(options.samples)[2].float().mean()) / STEPS
    print(words(setting), f"real steps: {share:.3f} of all, {options.clock} time, ms", sep="\n")
    shown = Table("network", "padding", *COLUMNS, box=None)
    for row in rows:
        numbers = [format(row[key], how) if key in row else "" for key, how in COLUMNS.values()]
        shown.add_row(row["network"], row["padding"], *numbers)
    Console(width=110).print(shown)
    if options.json:
        result: dict[str, Any] = {**setting, "real": share, "rows": rows}
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ragged", description=summary)
    parser.add_argument("--samples", type=int, default=64, help="of the batch (%(default)s)")
    parser.add_argument("--repeats", type=int, default=20, help="turns (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (%(default)s)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="(%(default)s)")
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
