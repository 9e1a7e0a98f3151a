"""`python -m benchmarks.convolutions`: convolutions along events beside torch's dense ones.

Forward, weight gradient and input gradient of kernels of 3 x 3, over sizes of layers and shares of
spikes (in the input's gradient of values that are not 0): the time along events and the time of the
dense product, in turns, the least of each. "ratio" is the dense time over that of what the layer
chooses; below 1 / 1.1 a choice is wrong, and is measured up to three times more.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table as Shown

from benchmarks import options as given
from benchmarks import turns
from benchmarks.instructions import again
from benchmarks.table import words
from spikegrad.kernels.cpu import conv2d
from spikegrad.kernels.cpu.conv import Shares, input_gradient, shares

__all__ = ["main"]

SIZES = (
    *((128, 16, 16, 28), (128, 16, 32, 28), (256, 32, 64, 14), (256, 64, 64, 14)),
    *((256, 64, 128, 7), (256, 128, 128, 7), (64, 256, 256, 8), (256, 2, 32, 34)),
)
"""Images, input channels, outputs, pixels of a side."""
PRODUCTS = ("forward", "weight", "input")
SHARES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
LIMIT = 1.1
AGAIN = 3

module = sys.modules[conv2d.__module__]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a row per size and product; 1 where a choice is too slow."""
    options = parsed(arguments)
    status = again("benchmarks.convolutions", arguments, options.isa)
    if status is not None:
        return status
    turns.start(options.threads)
    setting = turns.setting(options.threads)
    print(words(setting))
    points = list(itertools.product(options.sizes, PRODUCTS, options.shares))
    found = [looked_at(point, options.repeats) for point in track(points, "measuring")]
    show(found, options.shares)
    slow = [f for f in found if f["ratio"] < 1 / LIMIT]
    print(f"{len(slow)} of {len(found)} choices take more than {LIMIT} times the dense product")
    if options.json:
        result = {**setting, "points": found}
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return int(bool(slow))


def looked_at(point: tuple[tuple[int, ...], str, float], repeats: int) -> dict[str, Any]:
    """One point, up to three times more and longer while its choice seems too slow."""
    found = measured(*point, repeats)
    for _ in range(AGAIN):
        if found["ratio"] < 1 / LIMIT:
            found = measured(*point, 5 * repeats)
    return found


def measured(size: tuple[int, ...], product: str, share: float, repeats: int) -> dict[str, Any]:
    """One point: milliseconds of either way and of what the layer chooses."""
    own = shares(size[1], size[2])
    ways = {"chosen": own, "events": Shares(1.0, 1.0), "dense": Shares(-1.0, -1.0)}
    runs = {name: prepared(size, product, share, limits) for name, limits in ways.items()}
    least = turns.least_ms(runs, repeats)
    return {
        "size": list(size),
        "product": product,
        "share": share,
        "most": own.gradient if product == "input" else own.spikes,
        **{f"{name}_ms": value for name, value in least.items()},
        "ratio": least["dense"] / least["chosen"],
    }


def prepared(
    size: tuple[int, ...], product: str, share: float, limits: Shares
) -> Callable[[], object]:
    """A product of one layer under these limits, to be run again and again."""
    images, channels, outputs, side = size
    generator = torch.Generator().manual_seed(0)
    weight = 0.05 * torch.randn(outputs, channels, 3, 3, generator=generator)

    def under(run: Callable[[], object]) -> object:
        before = module.shares
        module.shares = lambda *_: limits  # type: ignore[attr-defined]
        try:
            return run()
        finally:
            module.shares = before  # type: ignore[attr-defined]

    rows = torch.rand(images, side, side, outputs, generator=generator)
    if product == "input":
        rows *= torch.rand(rows.shape, generator=generator) < share
        shape = torch.Size((images, channels, side, side))
        return lambda: under(lambda: input_gradient(rows, weight, shape, 1, 1, 1, 1))
    kept = torch.rand(1, images, side, side, channels, generator=generator) < share
    x = kept.float().permute(0, 1, 4, 2, 3)
    weight.requires_grad_(product == "weight")

    def forward() -> torch.Tensor:
        return conv2d(x, weight=weight, padding=(1, 1))

    if product == "forward":
        return lambda: under(torch.no_grad()(forward))
    y = under(forward)
    assert isinstance(y, torch.Tensor)
    gradient = rows.permute(0, 3, 1, 2).unsqueeze(0)
    return lambda: torch.autograd.grad(y, weight, gradient, retain_graph=True)


def show(found: list[dict[str, Any]], over: Sequence[float]) -> None:
    """A row for each size and product: how many times as fast as the dense product, by share."""
    heads = ("layer", "product", *(f"{share:.0%}" for share in over))
    shown = Shown(*heads, box=None, padding=(0, 2, 0, 0))
    for size, product in dict.fromkeys((tuple(f["size"]), f["product"]) for f in found):
        _, channels, outputs, side = size
        here = [f for f in found if (tuple(f["size"]), f["product"]) == (size, product)]
        cells = [f"{f['dense_ms'] / f['events_ms']:.2f}" for f in here]
        name = f"{channels}-{outputs}, {side}x{side}"
        shown.add_row(name, product, *cells)
    Console().print(shown)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convolutions", description=__doc__)
    text = "layers: images,channels,outputs,side"
    parser.add_argument("--sizes", type=size_of, nargs="+", default=SIZES, help=text)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of events")
    parser.add_argument("--repeats", type=int, default=9, help="turns of each way (%(default)s)")
    given.threads(parser)
    given.isa(parser)
    parser.add_argument("--json", metavar="OUT", help="write the points to this file")
    return parser.parse_args(arguments)


def size_of(text: str) -> tuple[int, ...]:
    """Four numbers between commas."""
    parts = text.split(",")
    if len(parts) != 4 or not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"expected images,channels,outputs,side, got {text}")
    return tuple(int(part) for part in parts)


if __name__ == "__main__":
    raise SystemExit(main())
