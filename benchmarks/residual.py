"""`python -m benchmarks.residual`: a training step of residual networks, here and in SpikingJelly.

"sew": `sg.nn.models.sew_resnet([1, 28, 28], 10)`, T = 4, B = 16, the same network on the reference
backend, and in SpikingJelly where that is installed. "skip": two connections into one layer of
neurons (700-512-512), T = 100, B = 128, beside the same without the second connection and that
connection alone. The second one reads the spikes that the first one reads (512-512), or in "over"
those that enter the layer before (700-512). Turns in one process; the least time of each counts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import spikegrad as sg
from benchmarks import options as given
from benchmarks import turns
from benchmarks.table import words

__all__ = ["main"]

CLASSES = 10
CHANNELS = (32, 64)
Run = Callable[[], object]


def step_of(network: nn.Module, x: Tensor, labels: Tensor, output: Callable[[Any], Tensor]) -> Run:
    """One step of training: forward, cross-entropy of the mean output, backward, Adam."""
    optimizer = torch.optim.Adam(network.parameters())

    def run() -> None:
        optimizer.zero_grad()
        scores = output(network(x)).mean(0)
        nn.functional.cross_entropy(scores, labels).backward()
        optimizer.step()

    return run


def ours(x: Tensor, labels: Tensor, backend: str) -> Run:
    """The recipe, with an arctan as SpikingJelly's."""
    torch.manual_seed(0)
    network = sg.nn.models.sew_resnet([1, 28, 28], CLASSES, channels=CHANNELS)
    sg.nn.use_backend(network, backend)
    return step_of(network, x, labels, lambda out: out[0])


def spikingjelly(x: Tensor, labels: Tensor) -> Run:
    """The same layers of SpikingJelly, all steps at once."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    torch.manual_seed(0)

    def convolution(before: int, size: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
        node = neuron.IFNode(
            v_reset=None, surrogate_function=surrogate.ATan(), detach_reset=True, step_mode="m"
        )
        conv = layer.Conv2d(before, size, kernel, stride, kernel // 2, bias=False, step_mode="m")
        return nn.Sequential(conv, layer.BatchNorm2d(size, step_mode="m"), node)

    class Block(nn.Module):
        def __init__(self, before: int, size: int, stride: int) -> None:
            super().__init__()
            first = convolution(before, size, stride=stride)
            self.body = nn.Sequential(first, convolution(size, size))
            same = before == size and stride == 1
            self.skip = nn.Identity() if same else convolution(before, size, 1, stride)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) + self.skip(x)

    first, second = CHANNELS
    network = nn.Sequential(
        convolution(1, first),
        Block(first, first, 1),
        Block(first, second, 2),
        layer.AdaptiveAvgPool2d(1, step_mode="m"),
        layer.Flatten(step_mode="m"),
        layer.Linear(second, CLASSES, step_mode="m"),
    )

    def output(y: Tensor) -> Tensor:
        functional.reset_net(network)
        return y

    return step_of(network, x, labels, output)


def sew() -> dict[str, Run]:
    """A small SEW-ResNet, in all ways that are here."""
    source = torch.Generator().manual_seed(0)
    x = torch.rand(4, 16, 1, 28, 28, generator=source)
    labels = torch.randint(CLASSES, (16,), generator=source)
    ways = {name: ours(x, labels, name) for name in ("auto", "reference")}
    if find_spec("spikingjelly"):
        ways["spikingjelly"] = spikingjelly(x, labels)
    return ways


class Net(sg.Module):
    """One or two connections into the second layer of neurons.

    beside: how many inputs the second connection has, 512 of the first layer, or 700; None: none.
    """

    def __init__(self, beside: int | None) -> None:
        super().__init__()
        surrogate = sg.surrogate.triangle(2.0)
        self.into, self.first = sg.Linear(700, 512), sg.LIF(20.0, surrogate=surrogate)
        self.on, self.second = sg.Linear(512, 512), sg.LIF(20.0, surrogate=surrogate)
        self.beside = None if beside is None else sg.Linear(beside, 512)
        self.out, self.readout = sg.Linear(512, 20), sg.LI(20.0)

    def flow(self, x: Tensor) -> Any:
        """Membranes `[T, B, 20]`."""
        a = self.first(self.into(x))
        current = self.on(a)
        if self.beside is not None:
            current = current + self.beside(a if self.beside.in_features == 512 else x)
        return self.readout(self.out(self.second(current)))


def skip(beside: int) -> dict[str, Run]:
    """Two connections into one layer, one connection, and the second connection alone."""
    source = torch.Generator().manual_seed(0)
    x = (torch.rand(100, 128, 700, generator=source) < 0.05).float()
    labels = torch.randint(20, (128,), generator=source)
    torch.manual_seed(0)
    with_skip, without = Net(beside), Net(None)
    for network in (with_skip, without):
        sg.nn.calibrate(network, x)
    with sg.record(without, membrane=False) as tapes, torch.no_grad():
        without(x)
    spikes = tapes["first"].spikes.clone().requires_grad_() if beside == 512 else x
    alone = sg.Linear(beside, 512)

    def connection() -> None:
        spikes.grad = None
        y = alone(spikes)
        y.backward(torch.ones_like(y))

    return {
        "two connections": step_of(with_skip, x, labels, lambda out: out[0]),
        "one connection": step_of(without, x, labels, lambda out: out[0]),
        "the second alone": connection,
    }


NETWORKS: dict[str, Callable[[], dict[str, Run]]] = {
    "sew": sew,
    "skip": partial(skip, 512),
    "over": partial(skip, 700),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a row per way."""
    options = parsed(arguments)
    turns.start(options.threads)
    setting = {**turns.setting(options.threads), "cpu_time": options.cpu_time}
    print(words(setting))
    result: dict[str, Any] = {**setting, "rows": []}
    for name in options.network:
        least = turns.least_ms(NETWORKS[name](), options.repeats, given.clock(options))
        shown = Table(name, "ms a step", "relative", box=None, padding=(0, 2, 0, 0))
        first = next(iter(least.values()))
        for way, ms in least.items():
            shown.add_row(way, f"{ms:.1f}", f"{ms / first:.2f}")
            result["rows"].append({"network": name, "way": way, "ms": ms})
        Console().print(shown)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.residual", description=summary)
    parser.add_argument("--network", default=",".join(NETWORKS), help="which (%(default)s)")
    parser.add_argument("--repeats", type=int, default=9, help="turns (%(default)s)")
    given.threads(parser)
    given.cpu_time(parser)
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    options = parser.parse_args(arguments)
    given.listed(parser, options, {"network": NETWORKS})
    return options


if __name__ == "__main__":
    raise SystemExit(main())
