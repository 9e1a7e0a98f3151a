"""`python -m benchmarks.choice`: is following the spikes, or not, ever the wrong choice?

For each product of a layer (forward, weight gradient, input gradient), each size and share of ones:
the time of what the crossover table in force chooses, over the time of the dense product. The same
for other numbers than ones (forward and weight gradient), in few rows and in many. The three ways
take the same tensors and turns, in an order that changes, so that none always meets the caches as
the same other one left them; the least time of each counts. The promise is a ratio of at most 1.1;
a point above it is measured up to three times more, with ten times as many turns.
"""

from __future__ import annotations

import argparse
import itertools
import json
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
from spikegrad.kernels.cpu import linear
from spikegrad.kernels.cpu.crossover import PRODUCTS, Table, crossover, table, using
from spikegrad.kernels.cpu.measure import prepared

__all__ = ["main"]

SIZES = (64, 128, 256, 512, 1024)
SHARES = (0.01, 0.03, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7)
NUMBERS = {
    f"{product}, {rows} rows of numbers": (product, rows)
    for product in ("forward", "weight")
    for rows in (16, 128, 1024)
}
LIMIT = 1.1
AGAIN = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a row per product and share; 1 where a choice is too slow."""
    options = parsed(arguments)
    status = again("benchmarks.choice", arguments, options.isa)
    if status is not None:
        return status
    turns.start(options.threads)
    setting = turns.setting(options.threads)
    print(words(setting))
    points = list(
        itertools.product((*PRODUCTS, *NUMBERS), options.sizes, options.sizes, options.shares)
    )
    found = [looked_at(point, options.repeats) for point in track(points, "measuring")]
    show(found)
    slow = [f for f in found if f["ratio"] > LIMIT]
    worst = max(found, key=lambda f: f["ratio"])
    print(f"{len(slow)} of {len(found)} choices take more than {LIMIT} times the dense product")
    print("the slowest: {product} {inputs}-{outputs} at {share:.0%}: {ratio:.2f}".format(**worst))
    if options.json:
        result = {**setting, "table": table().json(), "points": found}
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return int(bool(slow))


def looked_at(point: tuple[str, int, int, float], repeats: int) -> dict[str, Any]:
    """One point, up to three times more and longer while it seems too slow.

    Some products take microseconds and others share the machine; what is too slow stays so.
    """
    found = measured(*point, repeats)
    for _ in range(AGAIN):
        if found["ratio"] > LIMIT:
            found = measured(*point, 10 * repeats)
    return found


def measured(product: str, inputs: int, outputs: int, share: float, repeats: int) -> dict[str, Any]:
    """One point: milliseconds of the choice and of either way."""
    kind, rows = NUMBERS.get(product, (product, 0))
    own = getattr(crossover(inputs, outputs), kind)
    ways = {"chosen": own, "dense": -1.0, "events": 1.0}
    made = (
        numbers(kind, rows, inputs, outputs, share, list(ways.values()))
        if rows
        else prepared(kind, inputs, outputs, share, list(ways.values()))
    )
    least = turns.least_ms(dict(zip(ways, made, strict=True)), repeats)
    return {
        "product": product,
        "inputs": inputs,
        "outputs": outputs,
        "share": share,
        **{f"{name}_ms": value for name, value in least.items()},
        "ratio": least["chosen"] / least["dense"],
    }


def numbers(
    product: str, rows: int, inputs: int, outputs: int, share: float, crossovers: Sequence[float]
) -> list[Callable[[], object]]:
    """A product of the same numbers, of which a share is not 0, under each crossover."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, rows, inputs, generator=generator)
    x *= torch.rand(x.shape, generator=generator) < share
    weight = torch.randn(outputs, inputs, generator=generator)
    weight.requires_grad_(product == "weight")
    gradient = torch.randn(1, rows, outputs, generator=generator)

    def run(crossover: float) -> Callable[[], object]:
        forced = Table("forced", (1,), dict.fromkeys(PRODUCTS, ((crossover,),)))

        def forward() -> torch.Tensor:
            with using(forced):
                return linear(x, weight=weight)

        if product == "forward":
            return torch.no_grad()(forward)
        y = forward()
        return lambda: torch.autograd.grad(y, weight, gradient, retain_graph=True)

    return [run(crossover) for crossover in crossovers]


def show(found: list[dict[str, Any]]) -> None:
    """The least, middle and largest ratio of every product and share over all sizes."""
    heads = ("product", "share of ones", "least", "median", "largest", "of size")
    shown = Shown(*heads, box=None, padding=(0, 2, 0, 0))
    for product, share in dict.fromkeys((f["product"], f["share"]) for f in found):
        here = [f for f in found if (f["product"], f["share"]) == (product, share)]
        here.sort(key=lambda f: f["ratio"])
        middle, last = here[len(here) // 2], here[-1]
        cells = (f"{f['ratio']:.2f}" for f in (here[0], middle, last))
        shown.add_row(product, f"{share:.0%}", *cells, f"{last['inputs']}-{last['outputs']}")
    Console().print(shown)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choice", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="inputs and outputs")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of ones")
    parser.add_argument("--repeats", type=int, default=15, help="turns of each way (%(default)s)")
    given.threads(parser)
    given.isa(parser)
    parser.add_argument("--json", metavar="OUT", help="write the points to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
