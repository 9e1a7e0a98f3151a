"""The health of a network: one pass says what each layer does and what keeps it from learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose.batch import batch_of
from spikegrad.diagnose.ends import dead_outputs, floor_of
from spikegrad.diagnose.finding import Finding
from spikegrad.diagnose.layer import LayerHealth, layers_of
from spikegrad.diagnose.preflight import findings_of
from spikegrad.diagnose.probe import Loss, probe
from spikegrad.diagnose.text import columns, finite, number, share

__all__ = ["HEADER", "Health", "health", "row"]

HEADER = (
    "layer",
    "rate",
    "never",
    "always",
    "mean",
    "spread",
    "not 0",
    "gradient",
    "growth",
    "back",
)
"""The columns of the table: see `LayerHealth`."""


@dataclass(frozen=True, repr=False)
class Health:
    """What `health` found.

    layers: the spiking layers in the order of the run; findings: what is wrong, errors first; loss:
    its value; floor: the lowest value that it can reach, None where nothing bounds it or nobody
    knows; outputs, dead: how many outputs there are, and the numbers of those that say nothing on
    this batch; steps, samples: T and B; parameters: gradient norm by full name, None where the loss
    does not depend on it; notes: what was assumed. Printed, it is a table with the findings.
    """

    layers: tuple[LayerHealth, ...]
    findings: tuple[Finding, ...]
    loss: float | None
    floor: float | None
    outputs: int
    dead: tuple[int, ...]
    steps: int
    samples: int
    parameters: dict[str, float | None]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    def layer(self, name: str) -> LayerHealth:
        """One layer by its name; KeyError when there is none."""
        return {layer.name: layer for layer in self.layers}[name]

    def table(self) -> str:
        """The layers as text."""
        return columns(HEADER, [row(layer) for layer in self.layers])

    def line(self) -> str:
        """Output and loss in one line."""
        said = f"{len(self.dead)} of {self.outputs} outputs say nothing"
        if self.loss is not None:
            said += f"; loss {self.loss:.4g}"
            said += "" if self.floor is None else f", at best {self.floor:.4g}"
        return f"{said}; T = {self.steps} steps, {self.samples} samples"

    def text(self) -> str:
        """All of it as text."""
        lines = [self.table(), "", self.line(), *self.notes]
        lines += ["", *[f"{found.severity}: {found.line()}" for found in self.findings]]
        return "\n".join(lines if self.findings else [*lines, "no finding"])

    __str__ = __repr__ = text

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        return {
            "ok": self.ok,
            "layers": [layer.data() for layer in self.layers],
            "findings": [finding.data() for finding in self.findings],
            "loss": finite(self.loss),
            "floor": finite(self.floor),
            "outputs": self.outputs,
            "dead_outputs": list(self.dead),
            "steps": self.steps,
            "samples": self.samples,
            "parameters": {name: finite(norm) for name, norm in self.parameters.items()},
            "notes": list(self.notes),
        }


def row(layer: LayerHealth) -> list[str]:
    """A layer's cells in the table."""
    return [
        f"{layer.name} ({layer.kind})",
        number(layer.rate),
        share(layer.silent),
        share(layer.always),
        f"{layer.mean:.2g}",
        f"{layer.spread:.2g}",
        share(layer.nonzero),
        number(layer.total),
        number(layer.growth),
        "-" if layer.memory is None else str(layer.memory),
    ]


def health(
    network: nn.Module,
    batch: Any,
    *,
    loss: Loss | None = None,
    floor: float | None = None,
    classes: int | None = None,
) -> Health:
    """Look at a network on one batch: every spiking layer, the gradient's way, output and loss.

    network: any `nn.Module` with neurons of this package in it, that returns its output or
    `(output, states)`, run in the mode it is in; batch: x `[T, B, *features]`, or (x, labels);
    loss: `loss(y, labels)`, or `loss(y)` without labels, to a scalar; None: the cross-entropy of
    the mean over time for classes, the mean squared error for other targets, a random projection
    of the output without labels; floor: the lowest value of the loss, if known; classes: how many
    there are.
    Returns a `Health`. Nothing of the network changes. Raises UserError or TypeError for a network
    without neurons of this package, and for input or a loss that cannot be used at all.

    >>> from spikegrad.nn import models
    >>> _ = torch.manual_seed(0)
    >>> x, labels = torch.rand(64, 784) * (torch.rand(64, 784) < 0.2), torch.arange(64) % 10
    >>> found = health(models.article(as_written=True), (x.expand(10, 64, 784), labels))
    >>> found.layer("3").rate, found.findings[0].kind, len(found.dead)
    (0.0, 'silent', 10)
    """
    given = batch_of(batch, loss)
    seen = probe(network, given.x, given.labels, loss=given.loss, memory=True)
    layers = layers_of(network, seen)
    with torch.no_grad():
        findings = findings_of(
            network, seen, layers, given.labels, given.loss, floor=floor, classes=classes
        )
        bound = floor_of(network, seen, given.labels, given.loss, floor)
        norms = {
            name: None if g is None else float(torch.linalg.vector_norm(g.double()))
            for name, g in seen.parameters.items()
        }
    return Health(
        layers=tuple(layers),
        findings=tuple(findings),
        loss=float(seen.loss),
        floor=None if bound is None else bound.lowest,
        outputs=outputs(seen.y),
        dead=dead_outputs(network, seen),
        steps=len(seen.x),
        samples=seen.samples,
        parameters=norms,
        notes=given.notes,
    )


def outputs(y: Tensor) -> int:
    """How many outputs y `[T, B, *outputs]` or `[B, outputs]` has."""
    return y[0, 0].numel() if y.dim() > 2 else y.shape[-1] if y.dim() else 1
