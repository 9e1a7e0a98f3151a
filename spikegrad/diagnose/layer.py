"""What one spiking layer did on a batch: spikes, membranes, surrogate, gradient.

Membranes are measured from rest in units of the threshold in force, `(u - rest)/(theta - rest)`: 0
is rest, 1 the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose.flow import growth_of, norms, slopes_seen, step_means
from spikegrad.diagnose.histogram import Histogram, histogram
from spikegrad.diagnose.probe import Probe, shown, spiking
from spikegrad.diagnose.rates import never_and_always
from spikegrad.diagnose.text import finite, number, share
from spikegrad.nn.tape import Tape
from spikegrad.ragged import mask_of

__all__ = ["LayerHealth", "layers_of", "relative"]

FAINT = 0.01
"""A gradient below this share of its largest has not reached a step."""
MOST = 1_000_000
"""A median of more values takes longer than the network."""


@dataclass(frozen=True)
class LayerHealth:
    """One spiking layer on one batch.

    name, kind: the module's full name and class; surrogate: as it is written; neurons: how many a
    sample has; rate: spikes per neuron and step; silent, always: shares of neurons that never fire
    in the batch, and that fire at every step of every sample; mean, spread, reach: mean, standard
    deviation and maximum of the membrane, from rest in units of the threshold; nonzero: share of
    neuron-steps with a surrogate derivative that is not 0; passing: with one above 1 % of its
    peak; nearest, typical: the least and the median |u - theta|; support, width: half-width of the
    surrogate, and its full width at half maximum; gradient: L2 norm of the gradient of the input
    current, one a step; reached: whether the loss depends on the layer at all; memory: how many
    steps back the gradient of the output's last step reaches, above 1 % of its largest norm;
    rates: the rate at each step; distances: how often u - theta takes which values.
    What was not measured is None; hard: whether spikes are steps.
    """

    name: str
    kind: str
    neurons: int
    rate: float
    silent: float
    always: float
    mean: float
    spread: float
    reach: float
    surrogate: str = ""
    nonzero: float | None = None
    passing: float | None = None
    nearest: float | None = None
    typical: float | None = None
    support: float = math.inf
    width: float = math.inf
    gradient: tuple[float, ...] | None = None
    reached: bool = True
    memory: int | None = None
    hard: bool = True
    rates: tuple[float, ...] = ()
    distances: Histogram | None = None

    @property
    def dead(self) -> bool:
        """Whether nothing ever fired."""
        return self.hard and self.rate == 0.0

    @property
    def blocked(self) -> bool:
        """Whether the surrogate derivative is exactly 0 everywhere."""
        return self.nonzero == 0.0

    @property
    def total(self) -> float | None:
        """The L2 norm of the gradient of the input current over all steps."""
        return None if self.gradient is None else math.hypot(*self.gradient)

    @property
    def growth(self) -> float | None:
        """The factor of that gradient per step back in time, over the earlier half of the steps."""
        if self.gradient is None:
            return None
        return growth_of(self.gradient[: len(self.gradient) // 2 + 1])

    def line(self) -> str:
        """The layer in one line."""
        return (
            f"{self.name} ({self.kind}): rate {number(self.rate)}, {share(self.silent)} never and "
            f"{share(self.always)} always fire, membrane {number(self.mean)} +- "
            f"{number(self.spread)} of threshold, surrogate not 0 at {share(self.nonzero)}, "
            f"gradient {number(self.total)}"
        )

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        found: dict[str, Any] = {
            key: finite(value) if isinstance(value, float) else value
            for key, value in vars(self).items()
        }
        if self.gradient is not None:
            found["gradient"] = [finite(norm) for norm in self.gradient]
        found["rates"] = list(self.rates)
        found["distances"] = None if self.distances is None else self.distances.data()
        return {**found, "total": finite(self.total), "growth": finite(self.growth)}


def layers_of(network: nn.Module, seen: Probe) -> list[LayerHealth]:
    """Every spiking layer that ran, in order."""
    with torch.no_grad():
        return list(every(network, seen))


def every(network: nn.Module, seen: Probe) -> Iterator[LayerHealth]:
    """The layers one by one."""
    for name, module, tape in spiking(network, seen.tapes):
        gradient, last = seen.gradients[name], seen.last.get(name)
        real, lengths = tape.real, seen.lengths
        silent, always = never_and_always(real.activity)
        assert real.distance is not None
        yield LayerHealth(
            name=shown(name, module),
            kind=type(module).__name__,
            surrogate=str(module.surrogate),
            neurons=tape.spikes[0, 0].numel(),
            rate=float(real.activity.float().mean()),
            silent=silent,
            always=always,
            **membranes(module, real),
            **derivatives(module, tape, lengths),
            gradient=(0.0,) * len(tape.spikes) if gradient is None else norms(gradient),
            reached=gradient is not None,
            memory=None if last is None else steps_back(norms(from_ends(last, lengths))),
            hard=module.surrogate.mode == "hard",
            rates=step_means(tape.activity.float(), lengths),
            distances=histogram(real.distance),
        )


def relative(module: Any, tape: Tape) -> Tensor:
    """Membranes `[T, B, *features]` from rest, in units of the threshold in force."""
    membrane, distance = tape.membrane.detach(), tape.distance
    assert distance is not None
    rest = module.resting_potential()
    return (membrane - rest) / (membrane - distance.detach() - rest)


def membranes(module: Any, tape: Tape) -> dict[str, float]:
    """Mean, spread and maximum of the membranes, and how near to the threshold they are."""
    u = relative(module, tape).float()
    assert tape.distance is not None
    distance = tape.distance.detach().abs().float()
    return {
        "mean": float(u.mean()),
        "spread": float(u.std(correction=0)),
        "reach": float(u.max()),
        "nearest": float(distance.min()),
        "typical": median(distance),
    }


def median(values: Tensor) -> float:
    """The median, of at most a million values at equal distances."""
    flat = values.flatten()
    return float(flat[:: 1 + len(flat) // MOST].median())


def from_ends(gradient: Tensor, lengths: Tensor | None) -> Tensor:
    """A gradient `[T, B, *features]` with every sample's own last step as the last."""
    if lengths is None:
        return gradient
    found = torch.zeros_like(gradient)
    for b, n in enumerate(lengths.tolist()):
        found[len(gradient) - n :, b] = gradient[:n, b]
    return found


def derivatives(module: Any, tape: Tape, lengths: Tensor | None = None) -> dict[str, float]:
    """Where the surrogate has a derivative, and how wide it is; a learned slope as it is now."""
    derivative, peak = slopes_seen(module, tape)
    if lengths is not None:
        real = mask_of(lengths.to(derivative.device), len(derivative))
        peak = peak.expand_as(derivative)[real]
        derivative = derivative[real]
    surrogate = module.surrogate
    slope = surrogate.slope if module.slope is None else float(module.slope().detach().min())
    scale = surrogate.slope / slope
    return {
        "nonzero": float((derivative != 0).float().mean()),
        "passing": float((derivative / peak > 0.01).float().mean()),
        "support": surrogate.support * scale,
        "width": surrogate.properties().fwhm * scale,
    }


def steps_back(norms: tuple[float, ...]) -> int | None:
    """How far from the last step a gradient of these norms reaches; None where there is none.

    >>> steps_back((0.001, 0.1, 0.5, 1.0)), steps_back((0.0, 0.0))
    (2, None)
    """
    largest = max((norm for norm in norms if math.isfinite(norm)), default=0.0)
    if largest == 0.0:
        return None
    first = next(t for t, norm in enumerate(norms) if norm >= FAINT * largest)
    return len(norms) - 1 - first
