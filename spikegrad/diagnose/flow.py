"""Gradient flow: where the gradient of a loss goes, layer by layer and step by step.

For a spiking layer with input current I, distance d = u - theta and surrogate derivative g,

    current[t]    = ||dL/dI[t]||_2                 over the batch and all neurons
    derivative[t] = mean |g(d[t])|
    passing[t]    = share of |g(d[t])| > 0.01 max|g|
    growth        = (current[0]/current[T/2])^(2/T)      per step back in time

Growth is read off the earlier half of the sequence: in the later half each step back still adds the
loss of one more step, so that a gradient rises there which neither vanishes nor explodes. A neuron
in its refractory period passes nothing, whatever its membrane. The article's section 4.3
(`analyze_gradient_flow`), on any network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose.batch import criterion_of, lengths_of
from spikegrad.diagnose.printed import html_table
from spikegrad.diagnose.probe import Loss, Probe, probe, shown, spiking
from spikegrad.diagnose.text import columns, number
from spikegrad.ragged import Events, as_frame, mask_of
from spikegrad.step.modes import distances, mode_of

__all__ = [
    "GradientFlow",
    "LayerFlow",
    "flow_of",
    "gradient_flow",
    "growth_of",
    "slopes_seen",
    "step_means",
]


HEADER = ("layer", "rate", "gradient", "per step back", "derivative", "passing")
NORMS = ("parameter", "gradient")


@dataclass(frozen=True)
class LayerFlow:
    """One spiking layer. Every tuple has T entries, one a step.

    name, kind: the module's full name and class; surrogate: as it is written; rate: spikes per
    neuron and step; current: L2 norm of the gradient of the input current; derivative: mean
    surrogate derivative; passing: share of neurons whose derivative exceeds 1 % of its peak;
    reached: False where the loss does not depend on the layer at all (its norms are then 0).
    """

    name: str
    kind: str
    surrogate: str
    rate: float
    current: tuple[float, ...]
    derivative: tuple[float, ...]
    passing: tuple[float, ...]
    reached: bool

    @property
    def growth(self) -> float | None:
        """The factor of the current's gradient per step back in time; None below two steps."""
        return growth_of(self.current[: len(self.current) // 2 + 1])

    @property
    def total(self) -> float:
        """The L2 norm over all steps."""
        return math.hypot(*self.current)

    def line(self) -> str:
        """The layer in one line."""
        return (
            f"{self.name} ({self.kind}): rate {number(self.rate)}, gradient {number(self.total)}, "
            f"x{number(self.growth)} per step back, {100 * mean(self.passing):.3g} % pass"
        )


@dataclass(frozen=True)
class GradientFlow:
    """Every spiking layer, and the gradient norm of every parameter.

    loss: its value; layers: in the order of the run; parameters: L2 norm by full name, None where
    the loss does not depend on it, 0.0 where the gradient is exactly zero; frozen: the names of
    parameters that do not require a gradient.
    """

    loss: float
    layers: tuple[LayerFlow, ...]
    parameters: dict[str, float | None]
    frozen: tuple[str, ...]

    def layer(self, name: str) -> LayerFlow:
        """One layer by its name; KeyError when there is none."""
        return {layer.name: layer for layer in self.layers}[name]

    def line(self) -> str:
        """All of it in one line."""
        zero = sum(not norm for norm in self.parameters.values())
        return (
            f"loss {self.loss:.4g}; {len(self.layers)} spiking layers; "
            f"{zero} of {len(self.parameters)} parameters without gradient"
        )

    def table(self) -> str:
        """Layers, then parameters, as text."""
        return columns(HEADER, self.rows()) + "\n\n" + columns(NORMS, self.norms())

    __str__ = table

    def _repr_html_(self) -> str:
        return html_table(HEADER, self.rows()) + html_table(NORMS, self.norms())

    def rows(self) -> list[list[str]]:
        """The cells of the layers."""
        return [
            [
                f"{layer.name} ({layer.kind})",
                number(layer.rate),
                number(layer.total),
                number(layer.growth),
                number(mean(layer.derivative)),
                f"{100 * mean(layer.passing):.3g} %",
            ]
            for layer in self.layers
        ]

    def norms(self) -> list[list[str]]:
        """The cells of the parameters."""
        named = [
            [name, "none" if norm is None else number(norm)]
            for name, norm in self.parameters.items()
        ]
        return [*named, *([name, "frozen"] for name in self.frozen)]


def gradient_flow(
    network: nn.Module, x: Tensor | Events, labels: Any = None, *, loss: Loss, lengths: Any = None
) -> GradientFlow:
    """Measure where the gradient of a loss goes in a network; nothing of the network changes.

    network: any `nn.Module` with neurons of this package in it, that returns its output or
    `(output, states)`; x: its input, usually `[T, B, *features]`; labels: the loss's second
    argument; loss: `loss(y, labels)`, or `loss(y)` without labels, to a scalar. The network runs
    in the mode it is in (`network.eval()` first to measure without dropout). lengths: the steps of
    every sample, int64 `[B]`, None for T each: means over a step are over the samples that have it.
    Returns a `GradientFlow`. Raises UserError when there is nothing to record or to differentiate.
    Source: the article's section 4.3; Neftci, Mostafa & Zenke (2019), IEEE SPM 36(6).

    >>> from spikegrad import LIF, Linear, Sequential
    >>> _ = torch.manual_seed(0)
    >>> network = Sequential(Linear(4, 8), LIF(20.0), Linear(8, 2))
    >>> flow = gradient_flow(network, torch.rand(5, 3, 4), loss=lambda y: y.square().mean())
    >>> [layer.name for layer in flow.layers], len(flow.layers[0].current)
    (['1'], 5)
    >>> sorted(flow.parameters)
    ['0.bias', '0.weight', '2.bias', '2.weight']
    """
    x, lengths = as_frame(network, x, lengths)
    own = lengths_of(x, lengths)
    loss = criterion_of(loss, own)
    return flow_of(network, probe(network, x, labels, loss=loss, lengths=own))


def flow_of(network: nn.Module, seen: Probe) -> GradientFlow:
    """The flow of a pass that was recorded already."""
    with torch.no_grad():
        layers = []
        for name, module, tape in spiking(network, seen.tapes):
            gradient = seen.gradients[name]
            derivative, peak = slopes_seen(module, tape)
            steps = derivative.shape[0]
            passes = (derivative / peak > 0.01).float()
            layers.append(
                LayerFlow(
                    name=shown(name, module),
                    kind=type(module).__name__,
                    surrogate=str(module.surrogate),
                    rate=float(tape.real.activity.float().mean()),
                    current=(0.0,) * steps if gradient is None else norms(gradient),
                    derivative=step_means(derivative, seen.lengths),
                    passing=step_means(passes, seen.lengths),
                    reached=gradient is not None,
                )
            )
        parameters = {
            name: None if g is None else float(torch.linalg.vector_norm(g.double()))
            for name, g in seen.parameters.items()
        }
    frozen = tuple(name for name, p in network.named_parameters() if not p.requires_grad)
    return GradientFlow(float(seen.loss), tuple(layers), parameters, frozen)


def slopes_seen(module: Any, tape: Any) -> tuple[Tensor, Tensor]:
    """|g| at every membrane `[T, B, *features]`, 0 where refractory; and its peak, broadcastable.

    A learned slope is the one in force, per neuron if it is.
    """
    surrogate, distance = module.surrogate, tape.distance.detach()
    wide = distance.float() if distance.dtype in (torch.float16, torch.bfloat16) else distance
    slope = None if module.slope is None else module.slope().detach()
    places = thresholds_seen(module, tape, wide)
    derivative = sum((surrogate.derivative(d, slope) for d in places), torch.zeros(())).abs()
    derivative = derivative * ready(fired(module, tape, places), getattr(module, "refractory", 0))
    k = surrogate.slope if slope is None else slope
    peak = torch.as_tensor(surrogate.peak / surrogate.slope * k, dtype=wide.dtype)
    return derivative, peak.to(wide.device)


def thresholds_seen(module: Any, tape: Any, distance: Tensor) -> list[Tensor]:
    """The distances at which the surrogate is evaluated, one for each threshold of a layer."""
    if getattr(module, "spike", "binary") not in ("ternary", "multiple"):
        return [distance]
    u = tape.membrane.detach().to(distance.dtype)
    rest = torch.as_tensor(module.resting_potential(), dtype=u.dtype).detach()
    return distances(mode_of(module.spike, module.most), u, distance, u - distance, rest)


def fired(module: Any, tape: Any, places: list[Tensor]) -> Tensor:
    """Where a neuron spikes unless it is refractory, `[T, B, *features]`."""
    if getattr(module, "spike", "binary") == "escape" and module.surrogate.mode == "hard":
        known: Tensor = tape.spikes.detach() != 0
        return known
    return torch.stack([d >= 0 for d in places]).any(0)


def ready(reached: Tensor, refractory: int) -> Tensor:
    """1 where a neuron may spike, 0 in its refractory period, from rest; reached `[T, ...]`."""
    if refractory == 0:
        return torch.ones((), device=reached.device)
    silent, gates = torch.zeros_like(reached[0], dtype=torch.int32), []
    for now in reached.unbind(0):
        free = silent == 0
        gates.append(free)
        silent = torch.where(now & free, refractory, (silent - 1).clamp(min=0)).int()
    return torch.stack(gates)


def step_means(values: Tensor, lengths: Tensor | None = None) -> tuple[float, ...]:
    """The mean of every step of values `[T, B, *features]`, over the samples that have it; 0 of a
    step that none has.
    """
    means = values.flatten(1).mean(1) if lengths is None else real_means(values, lengths)
    return tuple(means.tolist())


def real_means(values: Tensor, lengths: Tensor) -> Tensor:
    """The same `[T]`, of samples with lengths."""
    real = mask_of(lengths.to(values.device), len(values))
    each = values.reshape(*values.shape[:2], -1).mean(2)
    return torch.where(real, each, 0).sum(1) / real.sum(1).clamp(min=1)


def norms(gradient: Tensor) -> tuple[float, ...]:
    """The L2 norm at each step; gradient `[T, ...]`."""
    return tuple(torch.linalg.vector_norm(gradient.double().flatten(1), dim=1).tolist())


def growth_of(current: tuple[float, ...]) -> float | None:
    """The geometric mean of the ratios of successive norms, backwards in time.

    Steps without any gradient at either end are left out.

    >>> growth_of((8.0, 4.0, 2.0)), growth_of((1.0,)), growth_of((0.0, 1.0, 4.0))
    (2.0, None, 0.25)
    """
    if not all(math.isfinite(norm) for norm in current):
        return math.inf
    there = [t for t, norm in enumerate(current) if norm > 0]
    if len(there) < 2:
        return None
    first, last = there[0], there[-1]
    return (current[first] / current[last]) ** (1 / (last - first))


def mean(values: tuple[float, ...]) -> float:
    """The mean over steps."""
    return sum(values) / len(values)
