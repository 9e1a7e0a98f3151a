"""A network on a few samples, many times at once: each time with noise of its own.

The copies of a sample lie side by side in the batch, so that one pass runs all of them.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose.batch import Batch
from spikegrad.diagnose.escape import FIRES, SILENT, Through, check_matched, escaping, freeze
from spikegrad.diagnose.flow import ready
from spikegrad.diagnose.gradients import owner
from spikegrad.diagnose.probe import check_network, output_of, spiking, watched
from spikegrad.errors import UserError, message
from spikegrad.nn.base import use_backend
from spikegrad.nn.fold import is_static
from spikegrad.nn.tape import Tape, listened

__all__ = ["Passed", "Trial", "Vectors", "add", "pieces", "weighted"]

Vectors = dict[str, Tensor]
"""By layer, the gradient of its parameters as one vector."""

MOST = 4_000_000
"""Values `[T, copies, features]` of all layers and the input in one pass."""


@dataclass(frozen=True, eq=False)
class Passed:
    """One pass. y: the output; by layer, `[T, R, *features]`: chance, to spike, of every unit, 0
    where it is refractory, with the graph of the membranes; density: its derivative; spikes, with
    the graph of the output; through: what closes the way of gradients through spikes.
    """

    y: Tensor
    chance: dict[str, Tensor]
    density: dict[str, Tensor]
    spikes: dict[str, Tensor]
    through: Through


class Trial:
    """A copy of a network, frozen, with some samples of a batch.

    Raises UserError where no matched noise is known, and for a loss that couples samples.
    """

    def __init__(self, network: nn.Module, batch: Batch, samples: int) -> None:
        check_network(network)
        self.network = copy.deepcopy(network)
        use_backend(self.network, "reference")
        self.labels, self.loss = batch.labels, batch.loss
        self.x = watched(batch.x).detach()
        freeze(self.network, self.x)
        with torch.no_grad(), listened(self.network) as tapes:
            y = output_of(self.network(self.x))
        self.axis = axis_of(y, self.x.shape[1])
        self.label_axis = None if self.labels is None else label_axis(self.labels, y, self.axis)
        self.keep(samples)
        found = list(spiking(self.network, tapes))
        self.layers = {name: module for name, module, _ in found}
        check_matched(self.network, self.layers)
        self.units = {name: torch.Size([len(tape.spikes), *tape.spikes.shape[2:]])
                      for name, _, tape in found}  # fmt: skip
        self.parameters = grouped(self.network)
        self.check_separable()

    def keep(self, samples: int) -> None:
        """Keep the first samples alone."""
        self.samples = min(samples, self.x.shape[1])
        index = self.range(0, self.samples)
        self.labels = self.picked_labels(index)
        self.x = picked(self.x, index)

    @property
    def dtype(self) -> torch.dtype:
        """Of noise."""
        return self.x.dtype if self.x.is_floating_point() else torch.float32

    def range(self, begin: int, end: int) -> Tensor:
        """Whole numbers, where the network is."""
        return torch.arange(begin, end, device=self.x.device)

    @property
    def count(self) -> int:
        """Units of a sample."""
        return sum(size.numel() for size in self.units.values())

    @property
    def by_chance(self) -> bool:
        """Whether the network spikes by chance in training, too."""
        return any(getattr(layer, "spike", "") == "escape" for layer in self.layers.values())

    @property
    def room(self) -> int:
        """How many copies one pass may have."""
        each = self.x[:, :1].numel() + self.count
        return max(1, MOST // each)

    def picked_labels(self, index: Tensor) -> Any:
        """The labels of copies of samples."""
        if self.label_axis is None:
            return None
        return self.labels.index_select(self.label_axis, index)

    def losses(self, y: Tensor, index: Tensor) -> Tensor:
        """The loss of every copy alone, `[R]`; index: which sample it is."""
        labels = self.picked_labels(index)
        own: Any = [None] * len(index) if labels is None else labels.split(1, self.label_axis)
        copies = zip(y.split(1, self.axis), own, strict=True)
        with torch.no_grad():
            return torch.stack([self.value(*each) for each in copies])

    def one_loss(self, y: Tensor, index: Tensor) -> Tensor:
        """The mean loss of an output of copies of samples."""
        return self.value(y, self.picked_labels(index))

    def value(self, y: Tensor, labels: Any) -> Tensor:
        """The loss, which must be a scalar."""
        value = self.loss(y) if labels is None else self.loss(y, labels)
        if value.numel() != 1:
            raise UserError(
                message("expected a scalar loss", str(list(value.shape)), "take its mean")
            )
        return value.reshape(())

    def slopes(self, y: Tensor, index: Tensor) -> Tensor:
        """The gradient of every copy's own loss with respect to its output, of y's shape."""
        leaf = y.detach().requires_grad_()
        with torch.enable_grad():
            value = self.one_loss(leaf, index) * len(index)
            (found,) = torch.autograd.grad(value, leaf)
        return found

    def passed(self, index: Tensor, noise: Mapping[str, Tensor]) -> Passed:
        """Run copies of samples with their noise, recorded."""
        chances_of = escaping(self.layers, noise)
        with torch.enable_grad(), chances_of as through, listened(self.network) as tapes:
            y = output_of(self.network(picked(self.x, index)))
        chance, density = {}, {}
        for name, layer in self.layers.items():
            chance[name], density[name] = chances(layer, tapes[name])
        spikes = {name: tapes[name].spikes for name in self.layers}
        return Passed(y, chance, density, spikes, through)

    def output(self, index: Tensor, noise: Mapping[str, Tensor]) -> Tensor:
        """The output of copies of samples with their noise, without gradients."""
        with torch.no_grad(), escaping(self.layers, noise):
            return output_of(self.network(picked(self.x, index)))

    def trained(self) -> Vectors:
        """The gradient that training takes: hard spikes without noise, the surrogate's gradient."""
        with torch.enable_grad():
            y = output_of(self.network(self.x))
            value = self.one_loss(y, self.range(0, self.samples))
        return self.gradient([(value, torch.ones_like(value))])

    def gradient(self, pairs: list[tuple[Tensor, Tensor]], *, keep: bool = False) -> Vectors:
        """The gradient of a sum of tensors times weights, by layer, each as one vector.

        keep: the graph, for another gradient.
        """
        wanted = [p for group in self.parameters.values() for p in group]
        found = torch.autograd.grad(weighted(pairs), wanted, allow_unused=True, retain_graph=keep)
        filled = iter([torch.zeros_like(p) if g is None else g
                       for g, p in zip(found, wanted, strict=True)])  # fmt: skip
        return {name: torch.cat([next(filled).flatten() for _ in group]).double().cpu()
                for name, group in self.parameters.items()}  # fmt: skip

    def check_separable(self) -> None:
        """Refuse a loss that is not the mean of the losses of its samples.

        It is asked of the network's output and of one where half of the units, drawn at random,
        are made to spike: a sum of losses that are all 0, of a silent network, is their mean, too.
        """
        source, index = torch.Generator().manual_seed(0), self.range(0, self.samples)
        half = {
            name: torch.where(
                torch.rand(size[0], self.samples, *size[1:], generator=source, device="cpu") < 0.5,
                FIRES,
                SILENT,
            ).to(self.x.device, self.dtype)
            for name, size in self.units.items()
        }
        with torch.no_grad():
            hard = output_of(self.network(self.x))
        for y in (hard, self.output(index, half)):
            with torch.no_grad():
                each, together = self.losses(y, index), self.one_loss(y, index)
            alone, rounding = each.mean(), 1e-6 + 1e-5 * float(each.abs().mean())
            if y is not hard and not (alone.isfinite() and together.isfinite()):
                continue  # a network need not ever have such an output
            if not torch.allclose(alone, together, rtol=1e-3, atol=rounding):
                raise UserError(
                    message(
                        "expected a loss that is the mean of the losses of its samples",
                        f"{float(together):.6g} and {float(alone):.6g}",
                        "the truth of its gradient is not measured",
                    )
                )


def weighted(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The sum of tensors times weights, of those that have a graph. Weights handed to
    `torch.autograd.grad` as grad_outputs give the same gradient, but import sympy, which takes
    longer than all of it.
    """
    terms = [(t * w.to(t.dtype)).sum() for t, w in pairs if t.requires_grad]
    if not terms:
        expected = "expected a parameter that is learned and reaches the loss through neurons"
        raise UserError(message(expected, "none", "set requires_grad of one"))
    return functools.reduce(torch.add, terms)


def chances(layer: Any, tape: Tape) -> tuple[Tensor, Tensor]:
    """The chance of a spike of every unit, with the graph of the membranes, and its derivative."""
    distance = tape.distance
    assert distance is not None
    slope = None if layer.slope is None else layer.slope()
    whole = layer.surrogate.area
    gate = ready(tape.spikes.detach() != 0, getattr(layer, "refractory", 0))
    with torch.no_grad():
        density = layer.surrogate.derivative(distance, slope).abs() / whole * gate
    return layer.surrogate.primitive(distance, slope) / whole * gate, density


def picked(x: Tensor, index: Tensor) -> Tensor:
    """Copies of samples of x `[T, B, *features]`, a static input as one."""
    if is_static(x):
        one = x[0].index_select(0, index)
        return one.expand(len(x), *one.shape)
    return x.index_select(1, index)


def axis_of(y: Tensor, samples: int) -> int:
    """Where an output has its samples: `[T, B, ...]` or `[B, ...]`."""
    for axis in (1, 0) if y.dim() > 2 else (0, 1):
        if y.dim() > axis and y.shape[axis] == samples:
            return axis
    expected = f"expected an output [T, B, ...] or [B, ...] with B={samples}"
    raise UserError(message(expected, str(list(y.shape)), "its truth is not measured"))


def label_axis(labels: Any, y: Tensor, axis: int) -> int:
    """Where labels have their samples: as the output if they have its shape, else in front."""
    if isinstance(labels, Tensor) and labels.dim():
        first = axis if labels.shape == y.shape else 0
        if labels.shape[first] == y.shape[axis]:
            return first
    raise UserError(
        message(
            f"expected labels of {y.shape[axis]} samples as one tensor",
            str(list(labels.shape)) if isinstance(labels, Tensor) else type(labels).__name__,
            "the truth of the gradient is not measured",
        )
    )


def grouped(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The trained parameters by the layer that they belong to."""
    found: dict[str, list[nn.Parameter]] = {}
    for name, p in network.named_parameters():
        if p.requires_grad:
            found.setdefault(owner(network, name), []).append(p)
    return found


def add(total: Vectors, part: Vectors) -> None:
    """Add up, layer by layer."""
    for name, vector in part.items():
        total[name] = total[name] + vector if name in total else vector


def pieces(total: int, room: int) -> Iterator[tuple[int, int]]:
    """A range in pieces: where each begins and ends."""
    for begin in range(0, total, room):
        yield begin, min(begin + room, total)
