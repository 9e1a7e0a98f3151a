"""The truth meter: is the surrogate gradient the gradient of anything?

With hard spikes it is not the gradient of the loss. With the escape noise that matches the
surrogate (`escape.py`) the expected loss is a smooth function of the weights, and has a gradient:

    dE[L]/dw = E[ sum_i (E[L | s_i = 1] - E[L | s_i = 0]) dp_i/dw ] + E[dL/dw of the readout]

over all units i (a neuron at a step), where p_i is the chance of a spike given those before. Up to
14 units a sample it is summed over all patterns of spikes (`enumeration.py`). Above, units are
drawn at random; each is flipped and the network runs again with the same noise for all others, so
that only what follows from the flip differs: common random numbers (`flips.py`).
Source: Gygax & Zenke (2025), Neural Computation 37(5), "Elucidating the theoretical underpinnings
of surrogate gradient learning in spiking neural networks".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from spikegrad.checks import check_count
from spikegrad.diagnose.agreement import Agreement, agreement, exact_agreement
from spikegrad.diagnose.batch import batch_of
from spikegrad.diagnose.enumeration import PATTERNS, enumerated
from spikegrad.diagnose.finding import Finding
from spikegrad.diagnose.flips import draws_of
from spikegrad.diagnose.printed import html_lines, html_table
from spikegrad.diagnose.probe import Loss
from spikegrad.diagnose.text import columns, finite, share
from spikegrad.diagnose.trial import Trial
from spikegrad.errors import UserError, message

__all__ = ["DRAWS", "FLIPS", "HEADER", "SAMPLES", "LayerTruth", "Truth", "check_truth", "truth"]

SAMPLES, DRAWS, FLIPS = 4, 16, 128
"""Where nothing is said."""
ENUMERATED = 14
"""Units of a sample up to which all patterns of spikes are summed."""
UNTRUE = 0.3
"""A cosine that is surely below this is worth a line."""
COMPARED = 1 << 15
"""Parameters of a layer that are compared at most; of more, some at random."""


@dataclass(frozen=True)
class LayerTruth:
    """The gradients of one layer's parameters.

    name: of the layer; parameters: how many are compared; noisy: the expected surrogate gradient
    under the noise, against the exact gradient of the expected loss; trained: the one that training
    takes, from hard spikes without noise, against the same.
    """

    name: str
    parameters: int
    noisy: Agreement
    trained: Agreement

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        return {"name": self.name, "parameters": self.parameters,
                "noisy": data_of(self.noisy), "trained": data_of(self.trained)}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Truth:
    """What `truth` found, by layer; printed, it is a table.

    way: "enumeration" (exact) or "common random numbers" (with 95 % intervals); units: of a sample;
    samples: how many; draws, flips: of noise, and of units in each layer of each.
    """

    layers: tuple[LayerTruth, ...]
    way: str
    units: int
    samples: int
    draws: int = 0
    flips: int = 0

    def layer(self, name: str) -> LayerTruth:
        """One layer by its name; KeyError when there is none."""
        return {layer.name: layer for layer in self.layers}[name]

    def rows(self) -> list[list[str]]:
        """A row of the table for each layer."""
        return [
            [
                layer.name,
                layer.trained.cosine.text(),
                layer.noisy.cosine.text(),
                share(layer.noisy.sign) if layer.noisy.decided else "-",
                share(layer.noisy.decided),
                layer.noisy.bias.text(),
            ]
            for layer in self.layers
        ]

    def line(self) -> str:
        """How it was measured."""
        said = f"by {self.way}, {self.units} units a sample, {self.samples} samples"
        return said + (f", {self.draws} draws, {self.flips} flips a layer" if self.draws else "")

    def text(self) -> str:
        """All of it as text."""
        return "\n".join([columns(HEADER, self.rows()), self.line()])

    __str__ = __repr__ = text

    def _repr_html_(self) -> str:
        return html_table(HEADER, self.rows()) + html_lines(self.line())

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        layers = [layer.data() for layer in self.layers]
        return {**vars(self), "layers": layers}


HEADER = ("layer", "cosine", "with noise", "same sign", "decided", "bias")
"""The columns of the table."""


def data_of(found: Agreement) -> dict[str, Any]:
    """An agreement as values that JSON can hold."""
    numbers = {"sign": finite(found.sign), "decided": found.decided}
    for name in ("cosine", "bias"):
        estimate = getattr(found, name)
        numbers[name] = finite(estimate.value)
        numbers[f"{name}_error"] = finite(estimate.error)
    return numbers


def truth(
    network: nn.Module,
    batch: Any,
    *,
    loss: Loss | None = None,
    samples: int = SAMPLES,
    draws: int = DRAWS,
    flips: int = FLIPS,
    seed: int = 0,
) -> Truth:
    """Compare surrogate gradients with the exact gradient of the expected loss, layer by layer.

    network, batch, loss: as of `health`; in evaluation mode, norms in training with the moments of
    the batch; samples: of the batch; draws: of noise, 3 or more; flips: units of each layer that
    are flipped in each draw; seed: of both. Up to 14 units a sample all patterns of spikes are
    summed, exactly, and draws, flips and seed are not read.
    Returns a `Truth`. The network does not change. Raises UserError where no escape noise matches
    (a surrogate that is no probability density, several spikes a step, soft mode), for a loss that
    is not the mean over its samples, and for sequences of different length.

    >>> import spikegrad as sg
    >>> _ = torch.manual_seed(0)
    >>> network = sg.Sequential(sg.Linear(3, 2), sg.LIF(10.0), sg.Linear(2, 2))
    >>> found = truth(network, (torch.rand(4, 5, 3), torch.arange(5) % 2))
    >>> found.way, found.units, found.layer("2").noisy.cosine.text()
    ('enumeration', 8, '1.00')
    """
    for name, value, least in (("samples", samples, 1), ("draws", draws, 3), ("flips", flips, 1)):
        check_count(value, name, least=least)
    given = batch_of(network, batch, loss)
    if given.lengths is not None and bool((given.lengths != len(given.x)).any()):
        expected = "expected sequences of one length to measure the truth of gradients"
        remedy = "pass samples that have as many steps: x[:n, lengths == n]"
        raise UserError(message(expected, f"lengths {given.lengths.tolist()[:8]}", remedy))
    with torch.inference_mode(False):
        trial = Trial(network, given, samples)
        if trial.count <= ENUMERATED:
            return exactly(trial)
        return sampled(trial, draws, flips, seed)


def check_truth(found: Truth) -> Iterator[Finding]:
    """Layers whose surrogate gradient surely points elsewhere than the exact one."""
    for layer in found.layers:
        cosine = layer.trained.cosine
        if math.isnan(cosine.value) or cosine.high >= UNTRUE:
            continue
        problem = (
            f"has a surrogate gradient of cosine {cosine.text()} with the exact gradient of the "
            f"expected loss"
        )
        advice = "use a wider surrogate (--slope lower)"
        yield Finding("untrue", layer.name, "warning", problem, cosine.value, advice)


def exactly(trial: Trial) -> Truth:
    """By all patterns of spikes of as many samples as there may be."""
    trial.keep(max(1, PATTERNS >> trial.count))
    expected, exact = enumerated(trial)
    trained = expected if trial.by_chance else trial.trained()
    layers = tuple(
        LayerTruth(
            name,
            len(true),
            exact_agreement(expected[name], true),
            exact_agreement(trained[name], true),
        )
        for name, true in exact.items()
    )
    return Truth(layers, "enumeration", trial.count, trial.samples)


def sampled(trial: Trial, draws: int, flips: int, seed: int) -> Truth:
    """By draws of noise, in each of which some units are flipped."""
    source = torch.Generator().manual_seed(seed)
    sizes = {name: sum(p.numel() for p in group) for name, group in trial.parameters.items()}
    chosen = {n: torch.randperm(s, generator=source)[:COMPARED] for n, s in sizes.items()}
    trust = draws_of(trial, 1, flips, dict.fromkeys(trial.units, 1.0), source)[0].best
    found = draws_of(trial, draws, flips, trust, source)
    trained, layers = trial.trained(), []
    for name, index in chosen.items():
        true = torch.stack([draw.exact[name][index] for draw in found])
        noisy = agreement(torch.stack([draw.surrogate[name][index] for draw in found]), true)
        hard = noisy if trial.by_chance else agreement(trained[name][index], true)
        layers.append(LayerTruth(name, len(index), noisy, hard))
    way = "common random numbers"
    return Truth(tuple(layers), way, trial.count, trial.samples, draws, flips)
