"""The workloads: which network, which sequence, which activity. Plain data, no torch.

One step is forward, cross-entropy of the output's mean over time, backward and Adam, in float32.
W4 is one neuron layer alone: forward, then backward of the sum of its spikes into its input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["BETA", "SURROGATES", "WORKLOADS", "Workload", "tiny", "void"]

BETA = 0.8999999761581421
"""0.9 in float32, so that a library which keeps it in float32 has the same decay in float64."""

SURROGATES = ("triangle", "arctan")
"""Both of slope 2 and area 1: `2 max(0, 1 - 2|x|)` and `(2/pi) / (1 + 4 x^2)`."""

Kind = Literal["dense", "recurrent", "scan", "conv"]


@dataclass(frozen=True)
class Workload:
    """One measured task.

    steps, batch: T and B; hidden: sizes of the spiking layers (channels first where `conv`);
    density: share of ones in the input, None for images; static: the image is given once and its
    first product computed once, else the input is a whole sequence; rate: spikes per neuron and
    step to which every hidden layer is scaled; window: how far from it a valid row may be;
    synapses: share of those that the first connection and the feedback have.
    """

    name: str
    title: str
    kind: Kind
    steps: int
    batch: int
    inputs: int
    hidden: tuple[int, ...]
    classes: int
    density: float | None = None
    static: bool = False
    rate: float = 0.05
    window: float = 0.01
    synapses: float = 1.0

    @property
    def images(self) -> bool:
        return self.density is None and self.kind != "scan"


WORKLOADS = {
    w.name: w
    for w in (
        Workload("W1", "784-256-10, T=25, B=128, the first product once", "dense",
                 25, 128, 784, (256,), 10, static=True),
        Workload("W1w", "W1 as the article writes it: the image at every step", "dense",
                 25, 128, 784, (256,), 10),
        Workload("W2", "700-512-512-20, T=100, B=128, 5 % spikes", "dense",
                 100, 128, 700, (512, 512), 20, density=0.05),
        Workload("W3s", "700-512 recurrent-20, T=100, B=128, 3 % spikes", "recurrent",
                 100, 128, 700, (512,), 20, density=0.03, rate=0.05),
        Workload("W3", "700-1024 recurrent-20, T=250, B=128, 3 % spikes", "recurrent",
                 250, 128, 700, (1024,), 20, density=0.03, rate=0.075),
        Workload("W3m", "W3 with a tenth of the synapses, but for the readout", "recurrent",
                 250, 128, 700, (1024,), 20, density=0.03, rate=0.075, synapses=0.1),
        Workload("W4", "a LIF layer alone, T=100, B=128, N=1024", "scan",
                 100, 128, 1024, (1024,), 0),
        Workload("W5", "32C3-P2-64C3-P2-256-10 on 1x28x28, T=4, B=64", "conv",
                 4, 64, 28, (32, 64, 256), 10, static=True),
    )
}  # fmt: skip


def tiny(workload: Workload) -> Workload:
    """The same task with a few neurons, to test the harness; its activity may well be void."""
    if workload.kind == "conv":
        hidden: tuple[int, ...] = (2, 3, 8)
    else:
        hidden = tuple(16 for _ in workload.hidden)
    inputs = {"conv": 28, "scan": 16}.get(workload.kind, workload.inputs)
    return replace(workload, steps=4, batch=4, inputs=inputs, hidden=hidden)


def void(workload: Workload, activities: list[float] | None) -> str | None:
    """Why a row does not count, or None: a hidden layer fires outside the window.

    activities: spikes per neuron and step of every hidden layer at step 0; None: no spikes.

    >>> void(WORKLOADS["W2"], [0.051, 0.045]), void(WORKLOADS["W2"], [0.051, 0.02])
    (None, 'layer 2 fires at 0.0200, outside 0.04 to 0.06')
    """
    low, high = workload.rate - workload.window, workload.rate + workload.window
    for index, rate in enumerate(activities or []):
        if not low <= rate <= high:
            return f"layer {index + 1} fires at {rate:.4f}, outside {low:.3g} to {high:.3g}"
    return None
