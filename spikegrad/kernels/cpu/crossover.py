"""Spikes or a dense product: up to which share of ones the spikes are followed.

A pure function of a call's shapes and of a table; the kernels compare its shares with the call's
number of ones. Never of timings or earlier calls, so that runs repeat: the table is measured once
(`spikegrad build`), kept beside the built kernels, and stored with every run.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from spikegrad.errors import UserError, message

__all__ = [
    "CAUTIOUS",
    "Crossover",
    "Table",
    "crossover",
    "followed",
    "table",
    "unmeasured",
    "using",
]

PRODUCTS = ("forward", "weight", "input")


class Crossover(NamedTuple):
    """The largest shares for the forward product, the weight's gradient and the input's."""

    forward: float
    weight: float
    input: float


@dataclass(frozen=True)
class Table:
    """Shares by the sizes of a layer: `shares[product][i][j]` for `sizes[i]` inputs, `sizes[j]`
    outputs; between sizes the nearest on a logarithmic scale counts.

    measured: on what, in words.
    """

    measured: str
    sizes: tuple[int, ...]
    shares: dict[str, tuple[tuple[float, ...], ...]]

    def at(self, inputs: int, outputs: int) -> Crossover:
        """The shares for a layer.

        >>> unmeasured("avx512").at(700, 512)
        Crossover(forward=0.3, weight=0.25, input=0.45)
        """
        # A trace walks past a cache, and torch warns of that.
        near = nearest.__wrapped__ if torch.compiler.is_compiling() else nearest
        i, j = near(self.sizes, inputs), near(self.sizes, outputs)
        return Crossover(*(self.shares[product][i][j] for product in PRODUCTS))

    def json(self) -> dict[str, Any]:
        """As plain JSON."""
        return json.loads(json.dumps(asdict(self)))

    @staticmethod
    def read(made: Any) -> Table:
        """The table of plain JSON. Raises UserError when it is none."""
        try:
            sizes = tuple(int(size) for size in made["sizes"])
            shares = {
                product: tuple(tuple(float(s) for s in row) for row in made["shares"][product])
                for product in PRODUCTS
            }
            square = all(
                len(rows) == len(sizes) and all(len(row) == len(sizes) for row in rows)
                for rows in shares.values()
            )
            inside = all(0 <= s <= 1 for rows in shares.values() for row in rows for s in row)
            if not (sizes and min(sizes) > 0 and square and inside):
                raise ValueError
            return Table(str(made["measured"]), sizes, shares)
        except (KeyError, TypeError, ValueError):
            raise UserError(
                message("expected a crossover table", "something else", "run `spikegrad build`")
            ) from None

    @staticmethod
    def load(path: Path) -> Table | None:
        """The table of a file, None where there is none that can be read."""
        try:
            return Table.read(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, UserError):
            return None


def unmeasured(isa: str) -> Table:
    """What holds for an instruction set until a table was measured: cautious values.

    >>> unmeasured("avx512").at(700, 512)
    Crossover(forward=0.3, weight=0.25, input=0.45)
    """
    words = f"default values for {isa}; `spikegrad build` measures them"
    shares: dict[str, tuple[tuple[float, ...], ...]] = {
        product: ((share,),) for product, share in zip(PRODUCTS, CAUTIOUS[isa], strict=True)
    }
    return Table(words, (1,), shares)


CAUTIOUS = {
    "avx512": Crossover(0.3, 0.25, 0.45),
    "avx2": Crossover(0.3, 0.25, 0.45),
    "neon": Crossover(0.3, 0.25, 0.45),
    "generic": Crossover(0.3, 0.25, 0.45),
}
"""Shares below which the spikes were faster for every size of layer, on a CPU with two cores.

Measured with avx512 and avx2 (`python -m benchmarks.choice --isa avx2`); the others take the same
shares, not measured, until `spikegrad build` measures them.
"""

_now: list[Table] = [unmeasured("generic")]


def table() -> Table:
    """The table in force."""
    return _now[-1]


def adopt(path: Path, isa: str) -> None:
    """Take a measured table, if the file has one, as this process's; else the cautious one."""
    _now[0] = Table.load(path) or unmeasured(isa)


@contextlib.contextmanager
def using(other: Table) -> Iterator[None]:
    """Another table while the context is open: that of a run which goes on."""
    _now.append(other)
    try:
        yield
    finally:
        _now.pop()


def crossover(inputs: int, outputs: int) -> Crossover:
    """The shares for a layer of this size under the table in force."""
    return table().at(inputs, outputs)


def followed(product: str, share: float, limit: float, rows: int, sizes: tuple[int, int]) -> bool:
    """Whether numbers of which a share is not 0, in so many rows, are followed: `most_forward` and
    `most_weight` of `connection.h`.

    product: "forward" or "weight"; sizes: inputs and outputs. Half empty tiles of 64 outputs cost
    more than following saves; forward it pays for turning the weight around, as much as 16 rows of
    the dense product; the gradient of a large weight over few rows is mostly its way to memory.
    """
    inputs, outputs = sizes
    if product == "forward":
        limit *= rows / (rows + 16)
    elif rows < 32 and inputs * outputs >= 2**19:
        return False
    return outputs >= 32 and share <= limit


@lru_cache(maxsize=1024)
def nearest(sizes: tuple[int, ...], size: int) -> int:
    """The position of the nearest size on a logarithmic scale, the lower one of two."""
    distances = [abs(math.log(s / max(size, 1))) for s in sizes]
    return distances.index(min(distances))
