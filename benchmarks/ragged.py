"""`python -m benchmarks.ragged`: samples of different length beside the padded batch.

As in spoken digits: 700 inputs of which 3 % spike, 256 LIF neurons, feed-forward and recurrent, 20
leaky integrators; 100 steps, lengths from 30 to 100. Padding is silent, or spikes as the samples
do: products follow spikes, so that silent padding costs the padded batch little. Forward,
cross-entropy of the mean over time and backward, in turns of one process; of each way the least
time counts.
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
    """The padded batch, and the same with its lengths."""
    made, (x, labels, lengths) = network(recurrent), batch(samples, padding)

    def padded() -> None:
        made.zero_grad()
        y, _ = made(x)
        membrane_cross_entropy(y, labels).backward()

    def ragged() -> None:
        made.zero_grad()
        y, _ = made(x, lengths=lengths)
        membrane_cross_entropy(y, labels, lengths=lengths).backward()

    return {"padded": padded, "lengths": ragged}


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
        rows.append(row | {f"{way}_mb": memory(run) for way, run in runs.items()})
    share = float(batch(options.samples)[2].float().mean()) / STEPS
    print(words(setting), f"real steps: {share:.3f} of all, time: {options.clock}", sep="\n")
    head = ("network", "padding", "padded ms", "lengths ms", "ratio", "padded MB", "lengths MB")
    shown = Table(*head, box=None)
    for row in rows:
        numbers = [f"{row[key]:.1f}" for key in ("padded_ms", "lengths_ms")]
        room = [f"{row[key]:.0f}" for key in ("padded_mb", "lengths_mb")]
        shown.add_row(row["network"], row["padding"], *numbers, f"{row['ratio']:.2f}", *room)
    Console().print(shown)
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
