"""`python -m benchmarks.delays`: learned delays, time and memory of a step.

700-256 recurrent-20 with delays up to 25 steps in both connections, one a synapse, T = 100, B = 64,
5 % input spikes. "ours" are `DelayedLinear` layers; "convolution" computes the same connections as
DCLS does (Hammouamri et al. 2024): torch's convolution over time with a kernel that is made of
weights and delays. The neurons, their feedback and the first weights are the same, and so are the
results, which is checked first. A step is forward, backward and Adam.

"feedback" has its delays in the feedback instead, 256 to 256 neurons: "ours" is one native call,
and beside it stands a loop over steps, each of which is native calls (`functional`'s own loop).
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
from torch import Tensor, nn
from torch.nn import functional as F

import spikegrad as sg
from benchmarks import meter, turns
from benchmarks import options as given
from benchmarks.sparse import Clock, Task, task
from benchmarks.table import words
from spikegrad import functional, kernels

__all__ = ["main"]

SIZES, TINY = (100, 64, 700, 256, 20, 25), (12, 4, 30, 16, 4, 5)
"""T, B, inputs, hidden, classes, longest delay."""
RATE = 0.05
KERNELS = ("interpolation", "gaussian")


class Convolution(sg.nn.Stateful):
    """A `DelayedLinear` as a convolution over time, from rest."""

    has_neurons = False

    def __init__(self, layer: sg.DelayedLinear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        layer, most = self.layer, self.layer.most
        padded = F.pad(x.permute(1, 2, 0), (most, 0))
        return F.conv1d(padded, self.kernel(), layer.bias).permute(2, 0, 1), None

    def kernel(self) -> Tensor:
        """`[out, in, most + 1]`, the longest delay first."""
        layer, most = self.layer, self.layer.most
        weight, delay = layer.weight.unsqueeze(-1), (layer.delay() / layer.dt).unsqueeze(-1)
        place = torch.arange(most, -1, -1, dtype=weight.dtype)
        if layer.learn == "interpolation":
            return weight * (1 - (place - delay).abs()).clamp(min=0)
        assert layer.sigma is not None
        shares = torch.exp(-0.5 * ((place - delay) / (layer.sigma / layer.dt)).square())
        return weight * shares / shares.sum(-1, keepdim=True)


def made(learn: str, progress: float, sizes: Sequence[int]) -> dict[str, Task]:
    """Both networks, with the same parameters, and their input."""
    steps, batch, inputs, hidden, classes, most = sizes
    torch.manual_seed(7)
    x = (torch.rand(steps, batch, inputs) < RATE).float()
    labels = torch.randint(classes, (batch,))
    tasks = {}
    for way in ("ours", "convolution"):
        torch.manual_seed(0)
        lif = sg.LIF(20.0, surrogate=sg.surrogate.triangle(2.0))
        layers: list[nn.Module] = [
            sg.DelayedLinear(inputs, hidden, most=float(most), learn=learn),
            sg.Recurrent(lif, hidden),
            sg.DelayedLinear(hidden, classes, most=float(most), learn=learn),
            sg.LI(20.0),
        ]
        with torch.no_grad():
            layers[0].weight.mul_(2.5)  # about 5 % of the hidden neurons fire at a step
        sg.nn.anneal_delays(nn.ModuleList(layers), progress)
        if way == "convolution":
            layers = [Convolution(m) if isinstance(m, sg.DelayedLinear) else m for m in layers]
        network = sg.Sequential(*layers)
        tasks[way] = task(network, x, lambda y: F.cross_entropy(y.mean(0), labels))
    with torch.no_grad():
        ours, theirs = (t.network(x)[0] for t in tasks.values())
    # A sum in another order moves a membrane by 1e-7; where that crosses the threshold, the sample
    # differs from there on.
    alike = (ours - theirs).abs().amax((0, 2)) <= 0.05 * float(ours.abs().max())
    if float(alike.float().mean()) < 0.9:  # NaN is not alike
        raise SystemExit(f"{learn}: the two ways give different results")
    return tasks


class Looped(sg.nn.Stateful):
    """A `Recurrent` with a `DelayedLinear`, a step at a time."""

    def __init__(self, layer: sg.Recurrent) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        assert isinstance(self.layer.connection, sg.DelayedLinear)
        neuron, taps = self.layer.neuron.bound(), self.layer.connection.taps()
        return functional.delayed_recurrent(
            x, state, taps=taps, neuron=neuron, product=kernels.delayed_linear
        )


def fed_back(sizes: Sequence[int]) -> dict[str, Task]:
    """Learned delays in the feedback, in one call and step by step."""
    steps, batch, inputs, hidden, classes, most = sizes
    torch.manual_seed(7)
    x = (torch.rand(steps, batch, inputs) < RATE).float()
    labels = torch.randint(classes, (batch,))
    tasks = {}
    for way in ("ours", "loop"):
        torch.manual_seed(0)
        back = sg.DelayedLinear(hidden, hidden, float(most), bias=False, learn="interpolation")
        lif = sg.LIF(20.0, surrogate=sg.surrogate.triangle(2.0))
        recurrent = sg.Recurrent(lif, connection=back)
        layer = recurrent if way == "ours" else Looped(recurrent)
        network = sg.Sequential(
            *(sg.Linear(inputs, hidden), layer, sg.Linear(hidden, classes), sg.LI(20.0))
        )
        with torch.no_grad():
            network[0].weight.mul_(2.5)
        tasks[way] = task(network, x, lambda y: F.cross_entropy(y.mean(0), labels))
    return tasks


def peak(what: Task, clock: Clock) -> float:
    """What a step takes beyond what was there before (MB)."""
    what.optimizer.zero_grad(set_to_none=True)
    torch.ops.spikegrad.pool_trim()
    meter.settle()
    meter.reset_peak()
    before = meter.resident_mb()
    what.step(clock)
    return meter.peak_mb() - before


def rows(options: argparse.Namespace, clock: Clock) -> list[dict[str, Any]]:
    """Interpolation, and Gaussians at the beginning and at the end of their annealing."""
    sizes = TINY if options.tiny else SIZES
    found = []
    for name, tasks in (
        ("interpolation", made("interpolation", 0.0, sizes)),
        ("gaussian, annealed", made("gaussian", 1.0, sizes)),
        ("gaussian, first epoch", made("gaussian", 0.0, sizes)),
        ("feedback", fed_back(sizes)),
    ):
        ways: dict[str, Callable[[], object]]
        ways = {way: (lambda t=t: t.step(clock)) for way, t in tasks.items()}
        least = turns.least_ms(ways, options.repeats, clock)
        memory = {way: peak(what, clock) for way, what in tasks.items()}
        rates = sg.diagnose.firing_rates(tasks["ours"].network, tasks["ours"].x)
        found.append(
            {
                "row": name,
                "rate": next(iter(rates.values())),
                "beside": next(way for way in tasks if way != "ours"),
                "ours_ms": least.pop("ours"),
                "other_ms": least.popitem()[1],
                "ours_mb": memory.pop("ours"),
                "other_mb": memory.popitem()[1],
            }
        )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a row per kernel."""
    options = parsed(arguments)
    turns.start(options.threads)
    clock = given.clock(options)
    setting = {**turns.setting(options.threads), "cpu_time": options.cpu_time}
    measured = rows(options, clock)
    print(words(setting))
    shown = Table("delays", "beside", "ours ms", "ms", "times", "ours MB", "MB", "share", "rate",
                   box=None, padding=(0, 2, 0, 0))  # fmt: skip
    for each in measured:
        ours, theirs = each["ours_ms"], each["other_ms"]
        mine, other = each["ours_mb"], each["other_mb"]
        times = (f"{ours:.4g}", f"{theirs:.4g}", f"{theirs / ours:.3g}")
        sizes = (f"{mine:.0f}", f"{other:.0f}", f"{mine / max(other, 1e-9):.2g}")
        shown.add_row(each["row"], each["beside"], *times, *sizes, f"{each['rate']:.3g}")
    Console(width=120).print(shown)
    if options.json:
        result: dict[str, Any] = {**setting, "rows": measured}
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delays", description=summary)
    parser.add_argument("--repeats", type=int, default=3, help="steps that count (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (%(default)s)")
    given.cpu_time(parser)
    parser.add_argument("--tiny", action="store_true", help="few neurons, to try it out")
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
