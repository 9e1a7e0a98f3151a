"""Who fires how often: rates, spike counts per neuron, and the shares that never or always fire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose.probe import forward, shown
from spikegrad.diagnose.text import columns, number
from spikegrad.nn.tape import Tape
from spikegrad.ragged import Events, as_frame

__all__ = ["SpikeCounts", "counts_table", "firing_rates", "never_and_always", "spike_counts"]


@dataclass(frozen=True)
class SpikeCounts:
    """How a layer's spikes are spread over its neurons.

    rate: spikes per neuron and step; quantiles: the least, the quarters and the most spikes of a
    neuron in one sample (5 numbers); histogram: how many (neuron, sample) pairs have 0, 1, ..., T
    spikes; dead: share of neurons that never fire in the batch; saturated: share of neurons that
    fire at every step of every sample.
    """

    layer: str
    rate: float
    quantiles: tuple[float, float, float, float, float]
    histogram: tuple[int, ...]
    dead: float
    saturated: float

    def line(self) -> str:
        """The layer in one line."""
        low, _, half, _, high = self.quantiles
        return (
            f"{self.layer}: rate {number(self.rate)}, "
            f"{low:g} to {high:g} spikes (median {half:g}), "
            f"{100 * self.dead:.3g} % never fire, {100 * self.saturated:.3g} % always"
        )


def firing_rates(
    network: nn.Module, x: Tensor | Events, *, lengths: Any = None
) -> dict[str, float]:
    """The mean firing rate of every spiking layer on x, in spikes per neuron and step.

    network: any module with neurons of this package, run in the mode it is in; x: usually
    `[T, B, *features]`, or `Events`; lengths: the steps of every sample, int64 `[B]`, None for T
    each. Returns `{layer: rate}` in order. Nothing of the network changes.

    >>> from spikegrad import IF, Sequential
    >>> firing_rates(Sequential(IF()), torch.full((4, 1, 3), 0.5))
    {'0': 0.5}
    """
    x, lengths = as_frame(network, x, lengths)
    with forward(network, x, lengths=lengths) as (_, tapes):
        return {name: rate_of(tape) for name, tape in spiking_tapes(network, tapes)}


def spike_counts(
    network: nn.Module, x: Tensor | Events, *, lengths: Any = None
) -> list[SpikeCounts]:
    """How every layer's spikes are spread over neurons and samples, in order.

    Arguments: `firing_rates`.

    >>> from spikegrad import IF, Sequential
    >>> x = torch.tensor([[[0.0, 0.5, 1.0]]]).expand(4, 1, 3)
    >>> (layer,) = spike_counts(Sequential(IF()), x)
    >>> layer.histogram, round(layer.dead, 3), round(layer.saturated, 3)
    ((1, 0, 1, 0, 1), 0.333, 0.333)
    """
    x, lengths = as_frame(network, x, lengths)
    with forward(network, x, lengths=lengths) as (_, tapes):
        return [counted(name, tape) for name, tape in spiking_tapes(network, tapes)]


def counts_table(layers: list[SpikeCounts]) -> str:
    """The counts of all layers as text."""
    header = ["layer", "rate", "least", "25 %", "median", "75 %", "most", "never", "always"]
    rows = [
        [
            layer.layer,
            number(layer.rate),
            *(f"{q:g}" for q in layer.quantiles),
            f"{100 * layer.dead:.3g} %",
            f"{100 * layer.saturated:.3g} %",
        ]
        for layer in layers
    ]
    return columns(header, rows)


def spiking_tapes(network: nn.Module, tapes: dict[str, Tape]) -> list[tuple[str, Tape]]:
    """The tape of every layer that has a surrogate and ran; integrators never spike."""
    modules = dict(network.named_modules())
    return [
        (shown(name, modules[name]), tape)
        for name, tape in tapes.items()
        if tape.outputs and hasattr(modules[name], "surrogate")
    ]


def rate_of(tape: Tape) -> float:
    """Spikes, of either sign, per neuron and real step."""
    return float(tape.real.activity.float().mean())


def counted(name: str, tape: Tape) -> SpikeCounts:
    """One layer; a soft "spike" counts as one from a half on."""
    spikes = tape.activity
    steps, fired = spikes.shape[0], spikes >= 0.5
    count = fired.sum(0).flatten()
    points = torch.linspace(0, 1, 5, device=count.device) * (count.numel() - 1)
    ranks = count.sort().values[points.round().long()].tolist()
    dead, saturated = never_and_always(tape.real.activity)
    return SpikeCounts(
        layer=name,
        rate=rate_of(tape),
        quantiles=tuple(ranks),
        histogram=tuple(torch.bincount(count, minlength=steps + 1).tolist()),
        dead=dead,
        saturated=saturated,
    )


def never_and_always(spikes: Tensor) -> tuple[float, float]:
    """The shares of neurons that never fire in spikes `[T, B, *features]`, and that always do."""
    fired = (spikes >= 0.5).flatten(0, 1)
    return float((~fired.any(0)).float().mean()), float(fired.all(0).float().mean())
