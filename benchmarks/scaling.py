"""`python -m benchmarks.scaling --out FOLDER`: how time and memory of a step grow.

One thing varies at a time: steps T, neurons N, batch, activity (spikes per neuron and step, of the
input as well), threads. Writes `scaling.json` and `scaling.png`. Beside ours stands the ReLU
network with the same dense products, and the floor of the memory's bandwidth: the bytes that a step
must move, at the speed of a copy measured on the same machine with the same threads.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import meter
from benchmarks import options as given
from benchmarks.floors import kept_mb, traffic_bytes
from benchmarks.harness import tasks, workload_rows
from benchmarks.table import words
from benchmarks.workers import Settings
from benchmarks.workloads import WORKLOADS, Workload, tiny

__all__ = ["AXES", "at", "main"]

BASE = {"dense": WORKLOADS["W2"], "recurrent": WORKLOADS["W3s"]}
AXES: dict[str, tuple[float, ...]] = {
    "T": (25, 50, 100, 200, 400),
    "N": (128, 256, 512, 1024, 2048),
    "batch": (16, 32, 64, 128, 256),
    "activity": (0.01, 0.02, 0.05, 0.1, 0.2),
    "threads": (1, 2, 4, 8, 16),
}
KEPT = (
    "implementation",
    "version",
    "isa",
    "median_ms",
    "min_ms",
    "max_ms",
    "peak_mb",
    "activity",
    "void",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every point, write JSON and picture; the exit status."""
    options = parsed(arguments)
    base = tiny(BASE[options.network]) if options.tiny else BASE[options.network]
    result: dict[str, Any] = {
        "machine": meter.machine(),
        "network": options.network,
        "isa": options.isa,
        "torch": version("torch"),
        "threads": options.threads,
        "base": {"T": base.steps, "N": base.hidden[0], "B": base.batch, "activity": base.rate},
        "points": [],
    }
    print(words(result))
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for point in points(options, base, Path(scratch)):
            result["points"].append(point)
            (folder / "scaling.json").write_text(json.dumps(result, indent=1) + "\n")
            print(line(point), flush=True)
    from benchmarks.pictures import scaling

    print(f"picture: {scaling(result, folder / 'scaling.png')}")
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=summary)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where to write")
    parser.add_argument("--network", choices=sorted(BASE), default="dense", help="(%(default)s)")
    parser.add_argument("--axis", default=",".join(AXES), help="which (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (%(default)s)")
    given.threads(parser)
    given.isa(parser)
    parser.add_argument("--tiny", action="store_true", help="a few neurons: tests the program")
    options = parser.parse_args(arguments)
    given.listed(parser, options, {"axis": AXES})
    return options


def points(options: argparse.Namespace, base: Workload, scratch: Path) -> Iterator[dict[str, Any]]:
    """All points of all axes; one that two axes share is measured for each."""
    speeds: dict[int, float] = {}
    for axis in options.axis:
        for value in values(axis, options.tiny):
            threads = int(value) if axis == "threads" else options.threads
            settings = Settings(threads, options.repeats, options.isa)
            if threads not in speeds:
                speeds[threads] = copy_speed(settings, scratch, options.tiny)
            workload = at(base, axis, value)
            rows = measured(workload, ("ours", "relu"), settings, scratch)
            yield {
                "axis": axis,
                "value": value,
                "bandwidth_gb_s": speeds[threads] / 1e9,
                "bandwidth_ms": 1000 * traffic_bytes(workload) / speeds[threads],
                "kept_mb": kept_mb(workload),
                "rows": [{key: row[key] for key in KEPT} for row in rows],
            }


def values(axis: str, small: bool) -> tuple[float, ...]:
    """The values of an axis: threads up to the cores there are; a tiny run takes two."""
    if axis == "threads":
        return tuple(value for value in AXES[axis] if value <= meter.cores())
    if not small:
        return AXES[axis]
    return (0.05, 0.1) if axis == "activity" else (4, 8)


def at(base: Workload, axis: str, value: float) -> Workload:
    """The workload at one point of an axis.

    >>> at(BASE["dense"], "N", 128).hidden
    (128, 128)
    """
    if axis == "T":
        return replace(base, steps=int(value))
    if axis == "N":
        return replace(base, hidden=tuple(int(value) for _ in base.hidden))
    if axis == "batch":
        return replace(base, batch=int(value))
    if axis == "activity":
        return replace(base, density=value, rate=value, window=0.2 * value)
    return base


def measured(
    workload: Workload, only: Sequence[str], settings: Settings, scratch: Path
) -> list[dict[str, Any]]:
    """The rows of a workload, every implementation in a new process."""
    import torch

    from benchmarks.material import make

    torch.set_num_threads(settings.threads)
    material, _ = make(workload, scratch)
    chosen = tasks(workload, only, ("triangle",))
    return list(workload_rows(chosen, material, settings))


def copy_speed(settings: Settings, scratch: Path, small: bool) -> float:
    """Bytes per second that the fastest of some copies reads and writes together."""
    workload = tiny(WORKLOADS["W4"]) if small else WORKLOADS["W4"]
    (row,) = measured(workload, ("copy",), replace(settings, repeats=3), scratch)
    moved = 6 * 4 * workload.steps * workload.batch * workload.inputs
    return moved / (row["min_ms"] / 1000)


def line(point: dict[str, Any]) -> str:
    """A point in words."""
    found = []
    for row in point["rows"]:
        if row["median_ms"] is None:
            found.append(f"{row['implementation']} void ({row['void']})")
        else:
            text = f"{row['median_ms']:.1f} ms, {row['peak_mb']:.0f} MB"
            found.append(f"{row['implementation']} {text}")
    floor = f"bandwidth {point['bandwidth_ms']:.1f} ms"
    return f"{point['axis']} {point['value']:g}: {'; '.join([*found, floor])}"


if __name__ == "__main__":
    sys.exit(main())
