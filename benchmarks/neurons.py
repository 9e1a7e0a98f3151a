"""`python -m benchmarks.neurons`: native scans of neurons beside their loop in torch.

Forward and backward of one neuron layer alone, `[T, B, N]`, with parameters that are fixed or
learned, in turns; the least time of each counts. The loop is the specification of the neuron, so
this is what the generated kernel gains. The input is noise whose scale makes about 5 % fire.
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
from torch import Tensor

import spikegrad as sg
from benchmarks import options as given
from benchmarks import turns
from benchmarks.instructions import again
from benchmarks.table import words
from spikegrad.nn import Neuron

__all__ = ["NEURONS", "main"]

RATE = 0.05
TAUS: dict[str, dict[str, Any]] = {
    "LIF": {"tau_mem": 20.0},
    "CUBALIF": {"tau_mem": 20.0, "tau_syn": 5.0},
    "ALIF": {"tau_mem": 20.0, "tau_adapt": 200.0},
}
BUILT_IN = {
    "LIF": ("tau_mem", "threshold"),
    "CUBALIF": ("tau_mem", "tau_syn", "threshold"),
    "ALIF": ("tau_mem", "tau_adapt", "kappa", "threshold"),
}
"""What is learned of each."""
NEURONS = (*BUILT_IN, *sg.neurons.models())


def layer(name: str, *, learned: bool, backend: str) -> Neuron:
    """A layer of neurons; of a model everything is learned."""
    kind = getattr(sg, name)
    if name in BUILT_IN:
        learn = BUILT_IN[name] if learned else ()
        made: Neuron = kind(**TAUS[name], learn=learn, backend=backend)
        return made
    step: Neuron = kind(learn=tuple(kind.step.parameters) if learned else (), backend=backend)
    return step


def current(name: str, shape: Sequence[int]) -> Tensor:
    """Noise of a scale at which about 5 % of the neurons fire, found by halving an interval."""
    inputs = getattr(getattr(getattr(sg, name), "step", None), "inputs", ())
    several = (len(inputs),) if inputs else ()
    source = torch.Generator().manual_seed(0)
    noise = torch.rand(*shape[:2], *several, *shape[2:], generator=source)
    if inputs:  # the first one excites
        noise[:, :, 1:] *= 0.2
    few = noise[:, :1, ..., : min(shape[2], 64)]
    least, most = 1e-3, 1e6
    neuron = layer(name, learned=False, backend="auto")
    with torch.no_grad():
        for _ in range(30):
            middle = (least * most) ** 0.5
            rate = neuron(few * middle)[0].mean().item()
            least, most = (middle, most) if rate < RATE else (least, middle)
    return (noise * most).requires_grad_()


def once(name: str, *, learned: bool, backend: str, x: Tensor) -> Callable[[], object]:
    """Forward, and backward of a random gradient."""
    neuron = layer(name, learned=learned, backend=backend)
    shape = (*x.shape[:2], *x.shape[-1:])  # several inputs have one output
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    wanted = [x, *neuron.parameters()]
    return lambda: torch.autograd.grad(neuron(x)[0], wanted, gradient, allow_unused=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a row per neuron."""
    options = parsed(arguments)
    status = again("benchmarks.neurons", arguments, options.isa)
    if status is not None:
        return status
    turns.start(options.threads)
    setting = turns.setting(options.threads)
    print(words(setting))
    print("T = {}, B = {}, N = {}".format(*options.size))
    rows = [row(name, options) for name in options.neuron]
    show(rows)
    if options.json:
        result = {**setting, "size": list(options.size), "rows": rows}
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0


def row(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One neuron: times of both, fixed and learned (ms), and the spikes per neuron and step."""
    x = current(name, options.size)
    ways = {
        (learned, backend): once(name, learned=learned, backend=backend, x=x)
        for learned in (False, True)
        for backend in ("reference", "cpu")
    }
    least = turns.least_ms(ways, options.repeats)
    with torch.no_grad():
        rate = layer(name, learned=False, backend="cpu")(x)[0].mean().item()
    found = {"neuron": name, "rate": rate}
    for (learned, backend), ms in least.items():
        found[f"{'learned' if learned else 'fixed'}_{backend}_ms"] = ms
    return found


def show(rows: list[dict[str, Any]]) -> None:
    """A row per neuron."""
    names = ("neuron", "rate", "fixed: loop", "native", "times", "learned: loop", "native", "times")
    shown = Table(*names, box=None, padding=(0, 2, 0, 0))
    for r in rows:
        cells = [r["neuron"], f"{r['rate']:.3f}"]
        for word in ("fixed", "learned"):
            loop, native = r[f"{word}_reference_ms"], r[f"{word}_cpu_ms"]
            cells += [f"{loop:.0f}", f"{native:.1f}", f"{loop / native:.1f}"]
        shown.add_row(*cells)
    Console().print(shown)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neurons", description=summary)
    parser.add_argument(
        "--size",
        type=int,
        nargs=3,
        default=(100, 128, 1024),
        metavar=("T", "B", "N"),
        help="steps, batch, neurons (%(default)s)",
    )
    parser.add_argument("--neuron", default=",".join(NEURONS), help="which (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (%(default)s)")
    given.threads(parser)
    given.isa(parser)
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    options = parser.parse_args(arguments)
    given.listed(parser, options, {"neuron": NEURONS})
    return options


if __name__ == "__main__":
    raise SystemExit(main())
