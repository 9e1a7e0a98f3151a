"""`python -m benchmarks.sparse`: connections with some synapses alone, time and memory of a step.

"w3" is the recurrent network of W3 with a tenth of its weights, in turns with the same network with
all of them and with one whose dense weights are multiplied by a mask. "20k" and "100k" are so many
recurrent neurons with 1,000 synapses each, T = 100, one sample, of which about 1 % fire. A step is
forward, backward and Adam.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

import spikegrad as sg
from benchmarks import material, meter, turns
from benchmarks import options as given
from benchmarks.table import words
from benchmarks.workloads import BETA, WORKLOADS, Workload, tiny

__all__ = ["main"]

DENSITY, SYNAPSES, STEPS = 0.1, 1000, 100
NOISE = 0.24
"""Of the current of a large network: about 1 % of its neurons fire."""
LARGE = {"20k": 20_000, "100k": 100_000}
TINY = {"20k": 200, "100k": 400}

Clock = Callable[[], float]


class Masked(nn.Module):
    """A weight times a mask: what sparse weights are without a sparse connection."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


class Task(NamedTuple):
    """A network to train; loss: of its output."""

    network: nn.Module
    x: Tensor
    loss: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer

    def step(self, clock: Clock) -> list[float]:
        """One step: the time of forward, backward and Adam (ms)."""
        self.optimizer.zero_grad(set_to_none=True)
        times = [clock()]
        value = self.loss(self.network(self.x)[0])
        times.append(clock())
        value.backward()
        times.append(clock())
        self.optimizer.step()
        times.append(clock())
        return [1000 * (b - a) for a, b in itertools.pairwise(times)]


def task(network: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Task:
    # A small step, so that firing stays what it is while it is measured.
    return Task(network, x, loss, torch.optim.Adam(network.parameters(), lr=1e-6, fused=True))


def w3(workload: Workload, kind: str) -> Task:
    """W3 with "some" of the weights, "all" of them, or "masked" ones, at the workload's rate."""
    torch.manual_seed(7)
    x = material.inputs_of(workload)[0]
    labels = torch.randint(workload.classes, (workload.batch,))
    n, some = workload.hidden[0], DENSITY if kind == "some" else None
    into = sg.Linear(workload.inputs, n, connectivity=some)
    back = sg.Linear(n, n, bias=False, connectivity=some)
    lif = sg.LIF(beta=BETA, surrogate=sg.surrogate.triangle(2.0))
    feedback = sg.Recurrent(lif, connection=back)
    network = sg.Sequential(into, feedback, sg.Linear(n, workload.classes))
    masked = (into, back) if kind == "masked" else ()
    masks = [Masked(torch.rand_like(layer.weight) < DENSITY) for layer in masked]
    with torch.no_grad():
        for layer, mask in zip(masked, masks, strict=True):
            layer.weight.copy_(mask(layer.weight))
    material.scale(network, x[:, : max(4, workload.batch // 8)], workload)
    for layer, mask in zip(masked, masks, strict=True):
        parametrize.register_parametrization(layer, "weight", mask)
    return task(network, x, lambda y: F.cross_entropy(y.mean(0), labels))


def large(neurons: int) -> Task:
    """Recurrent neurons with noise as their current."""
    torch.manual_seed(0)
    fan_in = min(SYNAPSES, neurons // 4)
    back = sg.Linear(neurons, neurons, bias=False, connectivity=fan_in)
    lif = sg.LIF(beta=BETA, surrogate=sg.surrogate.triangle(2.0))
    x = torch.randn(STEPS, 1, neurons) * NOISE
    return task(sg.Recurrent(lif, connection=back), x, lambda s: s.mean())


def row(name: str, what: Task, repeats: int, clock: Clock) -> dict[str, Any]:
    """The least time of each part, the peak of memory and the rate of firing."""
    torch.ops.spikegrad.pool_trim()
    meter.settle()
    meter.reset_peak()
    parts = [what.step(clock) for _ in range(repeats + turns.WARM_UP)][turns.WARM_UP :]
    best = min(parts, key=sum)
    peak = meter.peak_mb()
    rates = sg.diagnose.firing_rates(what.network, what.x)
    made = dict(zip(("forward", "backward", "adam"), best, strict=True))
    synapses = sum(p.numel() for p in what.network.parameters() if p.dim() > 0)
    return {"row": name, **made, "step": sum(best), "peak_mb": peak, "parameters": synapses,
            "rate": next(iter(rates.values()))}  # fmt: skip


def rows(options: argparse.Namespace, clock: Clock) -> list[dict[str, Any]]:
    """All that were asked for."""
    found = []
    for name in options.only.split(","):
        if name == "w3":
            workload = tiny(WORKLOADS["W3"]) if options.tiny else WORKLOADS["W3"]
            tasks = {kind: w3(workload, kind) for kind in ("some", "all", "masked")}
            ways = {kind: (lambda t=t: t.step(clock)) for kind, t in tasks.items()}
            least = turns.least_ms(ways, options.repeats, clock)
            for kind, what in tasks.items():
                measured = row(f"w3, {kind}", what, 1, clock)
                found.append(measured | {"step": least[kind]})
        elif name in LARGE:
            neurons = (TINY if options.tiny else LARGE)[name]
            found.append(row(name, large(neurons), options.repeats, clock))
        else:
            raise SystemExit(f"unknown row {name!r}; known: w3, {', '.join(LARGE)}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a row per network."""
    options = parsed(arguments)
    turns.start(options.threads)
    clock = given.clock(options)
    setting = {**turns.setting(options.threads), "cpu_time": options.cpu_time}
    made = rows(options, clock)
    print(words(setting))
    parts = ("forward", "backward", "adam", "step")
    shown = Table("row", *(f"{p} ms" for p in parts), "peak MB", "rate", "synapses and biases",
                  box=None, padding=(0, 2, 0, 0))  # fmt: skip
    for each in made:
        numbers = [f"{each[part]:.4g}" for part in parts]
        rest = (f"{each['peak_mb']:.0f}", f"{each['rate']:.4f}", f"{each['parameters']:,}")
        shown.add_row(each["row"], *numbers, *rest)
    Console(width=120).print(shown)
    if options.json:
        result: dict[str, Any] = {**setting, "rows": made}
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sparse", description=summary)
    parser.add_argument("--only", default="w3,20k,100k", help="rows (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="steps that count (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (%(default)s)")
    given.cpu_time(parser)
    parser.add_argument("--tiny", action="store_true", help="few neurons, to try it out")
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
