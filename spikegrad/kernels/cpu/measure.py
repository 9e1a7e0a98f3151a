"""Measuring the crossover table: along the spikes and dense, for layers of a few sizes.

The time along the spikes is a line in the share of ones; where it meets the time of the dense
product is the crossover.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from spikegrad.kernels.cpu.crossover import PRODUCTS, Table, using
from spikegrad.kernels.cpu.library import isa
from spikegrad.kernels.cpu.linear import linear
from spikegrad.kernels.cpu.spikes import Spikes

__all__ = ["SIZES", "measure"]

SIZES = (64, 256, 1024)
STEPS, BATCH = 8, 128
SHARES = (0.05, 0.25)
REPEATS = 15
SAFETY = 0.95  # a crossover a little early costs less than one too late
MOST = 0.45  # so far beyond the measured shares the line is no longer trusted


def measure(progress: Callable[[int, int], None] = lambda done, of: None) -> Table:
    """A table for this machine and this number of threads; takes a few seconds.

    progress: called with the number of sizes done, and of all.
    """
    pairs = list(itertools.product(SIZES, SIZES))
    found: dict[str, dict[tuple[int, int], float]] = {product: {} for product in PRODUCTS}
    for done, (inputs, outputs) in enumerate(pairs):
        progress(done, len(pairs))
        for product in PRODUCTS:
            found[product][inputs, outputs] = share(product, inputs, outputs)
    progress(len(pairs), len(pairs))
    words = f"with {torch.get_num_threads()} threads, {isa()}"
    shares = {
        product: tuple(tuple(found[product][i, o] for o in SIZES) for i in SIZES)
        for product in PRODUCTS
    }
    return Table(f"{words}, torch {torch.__version__}", SIZES, shares)


def share(product: str, inputs: int, outputs: int) -> float:
    """The share of ones at which both ways take the same time, in [0, 1]."""
    low_run, dense_run = prepared(product, inputs, outputs, SHARES[0], (1.0, -1.0))
    (high_run,) = prepared(product, inputs, outputs, SHARES[1], (1.0,))
    runs = [low_run, high_run, dense_run]
    best = [float("inf")] * len(runs)
    for _, (k, run) in itertools.product(range(REPEATS), enumerate(runs)):
        start = time.perf_counter()
        run()
        best[k] = min(best[k], time.perf_counter() - start)
    low, high, dense = best
    slope = max(high - low, 1e-9) / (SHARES[1] - SHARES[0])
    meets = SHARES[0] + (SAFETY * dense - low) / slope
    return round(min(MOST, max(0.0, meets)), 3)


def prepared(
    product: str, inputs: int, outputs: int, ones: float, crossovers: Sequence[float]
) -> list[Callable[[], object]]:
    """One product of the same tensors under each crossover: 1 along the spikes, -1 dense."""
    generator = torch.Generator().manual_seed(0)
    bits, places = packed_at(ones, inputs, generator)
    weight = torch.randn(outputs, inputs, generator=generator)
    gradient = torch.randn(STEPS, BATCH, outputs, generator=generator)
    leaf = torch.zeros(places).requires_grad_(product == "input")
    weight.requires_grad_(product == "weight")
    wanted = leaf if product == "input" else weight

    def run(crossover: float) -> Callable[[], object]:
        shares: dict[str, tuple[tuple[float, ...], ...]] = {
            p: ((crossover if p == product else 1.0,),) for p in PRODUCTS
        }
        forced = Table("forced", (1,), shares)

        def forward() -> Tensor:
            with using(forced):
                return linear(Spikes(leaf, bits, bits, inputs), weight=weight)

        if product == "forward":
            return torch.no_grad()(forward)
        y = forward()
        return lambda: torch.autograd.grad(y, wanted, gradient, retain_graph=True)

    return [run(crossover) for crossover in crossovers]


def packed_at(ones: float, inputs: int, generator: torch.Generator) -> tuple[Tensor, int]:
    """Random spikes as bits, and how many there are."""
    x = (torch.rand(STEPS, BATCH, inputs, generator=generator) < ones).float()
    bits, count = torch.ops.spikegrad.pack(x)
    return bits, int(count)
