"""`python -m benchmarks.streams`: one step of one sample, 700-256-20, beside other libraries.

LIF neurons and a leaky readout, no gradients, 5 % of the inputs spike; turns of a hundred steps, of
which the least time counts. Norse and snnTorch are measured where they are installed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import spikegrad as sg
from benchmarks import turns
from benchmarks.table import words

__all__ = ["main"]

INPUTS, HIDDEN, OUTPUTS = 700, 256, 20
STEPS = 100
"""Of a turn."""
TAU, BETA = 20.0, 0.95

Run = Callable[[], object]


def spikes() -> list[Tensor]:
    """Steps `[1, inputs]`."""
    source = torch.Generator().manual_seed(0)
    return [(torch.rand(1, INPUTS, generator=source) < 0.05).float() for _ in range(STEPS)]


def ours(x: list[Tensor]) -> dict[str, Run]:
    """`sg.stream`, and the network called with T = 1."""
    network = sg.Sequential(
        sg.Linear(INPUTS, HIDDEN), sg.LIF(TAU), sg.Linear(HIDDEN, OUTPUTS), sg.LI(TAU)
    )
    step = sg.stream(network)

    def called() -> None:
        states = None
        for part in x:
            _, states = network(part[None], states)

    return {"sg.stream": lambda: [step(part) for part in x], "Sequential, T = 1": called}


def norse(x: list[Tensor]) -> Run:
    """Norse's cells in its container of states."""
    import norse.torch as norse

    network = norse.SequentialState(
        nn.Linear(INPUTS, HIDDEN), norse.LIFBoxCell(), nn.Linear(HIDDEN, OUTPUTS), norse.LIBoxCell()
    )

    def run() -> None:
        states = None
        for part in x:
            _, states = network(part, states)

    return run


def snntorch(x: list[Tensor]) -> Run:
    """snnTorch's layers, states by hand."""
    import snntorch

    first, second = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, OUTPUTS)
    lif, readout = snntorch.Leaky(beta=BETA), snntorch.Leaky(beta=BETA, reset_mechanism="none")

    def run() -> None:
        u, v = lif.init_leaky(), readout.init_leaky()
        for part in x:
            s, u = lif(first(part), u)
            _, v = readout(second(s), v)

    return run


PEERS = {"norse": norse, "snntorch": snntorch}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a row per way."""
    options = parsed(arguments)
    turns.start(options.threads)
    setting = turns.setting(options.threads)
    x = spikes()
    ways = ours(x)
    ways |= {name: made(x) for name, made in PEERS.items() if find_spec(name)}
    with torch.no_grad():
        least = turns.least_ms(ways, options.repeats)
    rows = [{"way": way, "us": 1000 * ms / STEPS} for way, ms in least.items()]
    print(words(setting))
    shown = Table("way", "us a step", "/ sg.stream", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        shown.add_row(row["way"], f"{row['us']:.0f}", f"{row['us'] / rows[0]['us']:.1f}")
    Console().print(shown)
    if options.json:
        result: dict[str, Any] = {**setting, "rows": rows}
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=summary)
    parser.add_argument("--repeats", type=int, default=20, help="turns (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (%(default)s)")
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
