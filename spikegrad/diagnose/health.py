"""The health of a network: one pass says what each layer does and what keeps it from learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose.batch import Batch, batch_of
from spikegrad.diagnose.ends import dead_outputs, floor_of
from spikegrad.diagnose.finding import Finding, ordered
from spikegrad.diagnose.layer import LayerHealth, layers_of
from spikegrad.diagnose.preflight import findings_of
from spikegrad.diagnose.printed import html_findings, html_lines, html_table
from spikegrad.diagnose.probe import Loss, Probe, probe
from spikegrad.diagnose.text import columns, finite, number, share
from spikegrad.diagnose.truth import DRAWS, FLIPS, SAMPLES, Truth, check_truth
from spikegrad.diagnose.truth import truth as truth_of
from spikegrad.errors import UserError

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
QUICK = 6e7
"""Values of all units and inputs that the truth meter may compute where it was not asked for."""


@dataclass(frozen=True, repr=False)
class Health:
    """What `health` found.

    layers: the spiking layers in the order of the run; findings: what is wrong, errors first; loss:
    its value; floor: the lowest value that it can reach, None where nothing bounds it or nobody
    knows; outputs, dead: how many outputs there are, and the numbers of those that say nothing on
    this batch; steps, samples: T and B; parameters: gradient norm by full name, None where the loss
    does not depend on it; notes: what was assumed, or left out; truth: of the gradients, where it
    was measured. Printed, it is a table with the findings.
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
    truth: Truth | None = None

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
        lines = [self.table(), ""]
        lines += [self.truth.text(), ""] if self.truth is not None else []
        lines += [self.line(), *self.notes]
        lines += ["", *[f"{found.severity}: {found.line()}" for found in self.findings]]
        return "\n".join(lines if self.findings else [*lines, "no finding"])

    __str__ = __repr__ = text

    def _repr_html_(self) -> str:
        parts = [html_table(HEADER, [row(layer) for layer in self.layers])]
        if self.truth is not None:
            parts.append(self.truth._repr_html_())
        return "".join([*parts, html_lines(self.line(), *self.notes), html_findings(self.findings)])

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
            "truth": None if self.truth is None else self.truth.data(),
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
    truth: bool | None = False,
    lengths: Any = None,
) -> Health:
    """Look at a network on one batch: every spiking layer, the gradient's way, output and loss.

    network: any `nn.Module` with neurons of this package in it, that returns its output or
    `(output, states)`, run in the mode it is in; batch: x `[T, B, *features]`, or (x, labels), or
    (x, labels, lengths);
    loss: `loss(y, labels)`, or `loss(y)` without labels, to a scalar; None: the cross-entropy of
    the mean over time for classes, the mean squared error for other targets, a random projection
    of the output without labels; floor: the lowest value of the loss, if known; classes: how many
    there are; truth: whether to measure the truth of the gradients too (`truth`), None: where that
    is quick; lengths: the steps of every sample, int64 `[B]`, None for T each.
    Returns a `Health`. Nothing of the network changes. Raises UserError or TypeError for a network
    without neurons of this package, and for input or a loss that cannot be used at all.

    >>> from spikegrad.nn import models
    >>> _ = torch.manual_seed(0)
    >>> x, labels = torch.rand(64, 784) * (torch.rand(64, 784) < 0.2), torch.arange(64) % 10
    >>> found = health(models.article(as_written=True), (x.expand(10, 64, 784), labels))
    >>> found.layer("3").rate, found.findings[0].kind, len(found.dead)
    (0.0, 'silent', 10)
    """
    given = batch_of(network, batch, loss, lengths)
    criterion = given.criterion
    how: dict[str, Any] = {"loss": criterion, "memory": True, "lengths": given.lengths}
    seen = probe(network, given.x, given.labels, **how)
    layers = layers_of(network, seen)
    with torch.no_grad():
        findings = findings_of(
            network, seen, layers, given.labels, criterion, floor=floor, classes=classes
        )
        bound = floor_of(network, seen, given.labels, criterion, floor)
        norms = {
            name: None if g is None else float(torch.linalg.vector_norm(g.double()))
            for name, g in seen.parameters.items()
        }
    found, why = None, ""
    if truth or (truth is None and is_quick(seen, layers)):
        found, why = measured(network, given)
        findings = ordered([*findings, *(check_truth(found) if found is not None else ())])
    elif truth is None:
        why = "it would take long here; truth=True (--truth) does it"
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
        notes=(
            *given.notes,
            *([f"the truth of the gradient was not measured: {why}"] if why else []),
        ),
        truth=found,
    )


def measured(network: nn.Module, given: Batch) -> tuple[Truth | None, str]:
    """The truth of a network's gradients, or why it cannot be measured."""
    try:
        return truth_of(network, (given.x, given.labels, given.lengths), loss=given.loss), ""
    except UserError as error:
        return None, str(error)


def is_quick(seen: Probe, layers: list[LayerHealth]) -> bool:
    """Whether the truth of a network with these layers is a matter of a second or two."""
    steps = len(seen.x)
    copies = (DRAWS + 1) * (FLIPS * len(layers) + 2 * SAMPLES)
    each = seen.x[:, :1].numel() + steps * sum(layer.neurons for layer in layers)
    return copies * each <= QUICK


def outputs(y: Tensor) -> int:
    """How many outputs y `[T, B, *outputs]` or `[B, outputs]` has."""
    return y[0, 0].numel() if y.dim() > 2 else y.shape[-1] if y.dim() else 1
