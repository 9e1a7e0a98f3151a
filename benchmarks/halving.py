"""`python -m benchmarks.halving`: what half of the spikes takes off the time of a product.

Forward product and weight gradient of one connection at a fixed size, for shares of ones that halve
from row to row, in turns whose order changes; the least time of each counts. The promise is 35 %
off for each halving: cost follows the spikes down to where reading and writing real numbers is all
that is left. Beside it stands the dense product, whose time no spike changes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import options as given
from benchmarks import turns
from benchmarks.instructions import again
from benchmarks.table import words
from spikegrad.kernels.cpu import linear, packed

__all__ = ["main"]

SHARES = (0.2, 0.1, 0.05, 0.025)
LEAST_OFF = 0.35
DENSE = -1.0  # the dense product, among the shares


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a row per share; 1 where a halving takes too little off."""
    options = parsed(arguments)
    status = again("benchmarks.halving", arguments, options.isa)
    if status is not None:
        return status
    turns.start(options.threads)
    setting = turns.setting(options.threads)
    steps, batch, inputs, outputs = options.size
    runs = {share: along(share, *options.size) for share in options.shares}
    least = turns.least_ms({**runs, DENSE: dense(*options.size)}, options.repeats)
    dense_ms = least.pop(DENSE)
    points = with_off([{"share": share, "ms": ms} for share, ms in least.items()])
    print(words(setting))
    print(f"{inputs}-{outputs}, T = {steps}, B = {batch}, {options.threads} threads")
    show(points, dense_ms)
    if options.json:
        result = {
            **setting,
            "size": list(options.size),
            "dense_ms": dense_ms,
            "points": points,
        }
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    halved = [p["off"] for p in points if p["off"] is not None]
    short = [off for off in halved if off < LEAST_OFF]
    print(f"{len(short)} of {len(halved)} halvings take less than {LEAST_OFF:.0%} off")
    return int(bool(short))


def along(
    share: float, steps: int, batch: int, inputs: int, outputs: int
) -> Callable[[], tuple[torch.Tensor, ...]]:
    """Forward product and weight gradient of random spikes, as the kernels choose."""
    generator = torch.Generator().manual_seed(0)
    spikes = packed((torch.rand(steps, batch, inputs, generator=generator) < share).float())
    if spikes is None:
        raise RuntimeError("zeros and ones are spikes")
    weight = torch.randn(outputs, inputs, generator=generator, requires_grad=True)
    gradient = torch.randn(steps, batch, outputs, generator=generator)
    return lambda: torch.autograd.grad(linear(spikes, weight=weight), weight, gradient)


def dense(
    steps: int, batch: int, inputs: int, outputs: int
) -> Callable[[], tuple[torch.Tensor, ...]]:
    """The same of torch's dense product."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(steps, batch, inputs, generator=generator) < 0.05).float()
    weight = torch.randn(outputs, inputs, generator=generator, requires_grad=True)
    gradient = torch.randn(steps, batch, outputs, generator=generator)
    product = torch.nn.functional.linear
    return lambda: torch.autograd.grad(product(x, weight), weight, gradient)


def with_off(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The share of the time that a row takes off the row with twice its ones, if there is one.

    >>> with_off([{"share": 0.2, "ms": 8.0}, {"share": 0.1, "ms": 5.0}])[1]["off"]
    0.375
    """
    times = {p["share"]: p["ms"] for p in points}
    for p in points:
        twice = times.get(2 * p["share"])
        p["off"] = None if twice is None else 1 - p["ms"] / twice
    return points


def show(points: list[dict[str, Any]], dense_ms: float) -> None:
    """A row per share, and the dense product."""
    shown = Table("share of ones", "ms", "halving takes off", box=None, padding=(0, 2, 0, 0))
    for p in points:
        off = "" if p["off"] is None else f"{p['off']:.0%}"
        shown.add_row(f"{100 * p['share']:g} %", f"{p['ms']:.1f}", off)
    shown.add_row("dense", f"{dense_ms:.1f}", "")
    Console().print(shown)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.halving", description=summary)
    parser.add_argument(
        "--size",
        type=int,
        nargs=4,
        default=(100, 128, 700, 512),
        metavar=("T", "B", "I", "N"),
        help="steps, batch, inputs, outputs (%(default)s)",
    )
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of ones")
    parser.add_argument("--repeats", type=int, default=20, help="turns (%(default)s)")
    given.threads(parser)
    given.isa(parser)
    parser.add_argument("--json", metavar="OUT", help="write the points to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
