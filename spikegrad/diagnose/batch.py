"""What a network is looked at on: input, labels and the loss between output and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from spikegrad.diagnose.probe import Loss
from spikegrad.errors import UserError, message
from spikegrad.functional import membrane_cross_entropy

__all__ = ["Batch", "batch_of"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Input `[T, B, *features]`, labels or None, the loss, and what was assumed, in words."""

    x: Tensor
    labels: Any
    loss: Loss
    notes: tuple[str, ...] = ()


def batch_of(batch: Any, loss: Loss | None = None) -> Batch:
    """A batch as the caller gave it: x, or (x, labels).

    loss: `loss(y, labels)`, or `loss(y)` without labels; None: the cross-entropy of the output's
    mean over time for whole numbers `[B]`, the mean squared error for other targets, a fixed random
    projection of the output without labels.
    Raises TypeError for something else.
    """
    parts = batch if isinstance(batch, (tuple, list)) else (batch,)
    if len(parts) not in (1, 2) or not isinstance(parts[0], Tensor):
        got = f"{type(batch).__name__} of {len(parts)}" if len(parts) != 1 else type(batch).__name__
        expected = "expected a batch as x, or (x, labels), x a tensor [T, B, *features]"
        raise TypeError(message(expected, got, "encode the samples before"))
    x, labels = (*parts, None)[:2]
    if loss is not None:
        return Batch(x, labels, loss)
    chosen, note = assumed(labels)
    return Batch(x, labels, chosen, (note,))


def assumed(labels: Any) -> tuple[Loss, str]:
    """The loss where none is given, and the word about it."""
    if labels is None:
        return projection, "no labels: gradients are those of a fixed random projection of y"
    if not isinstance(labels, Tensor):
        expected, got = "expected labels as a tensor, or a loss that reads them", type(labels)
        raise TypeError(message(expected, got.__name__, "pass loss="))
    if labels.is_floating_point():
        return squared, "no loss given: the mean squared error, of the mean over time if need be"
    return membrane_cross_entropy, "no loss given: the cross-entropy of the output's mean over time"


def projection(y: Tensor) -> Tensor:
    """The mean of y times fixed random numbers, which no symmetry of the output makes 0."""
    source = torch.Generator().manual_seed(0)
    weight = torch.randn(y.shape, generator=source, dtype=torch.float64)
    return (y * weight.to(y.device, y.dtype)).mean()


def squared(y: Tensor, targets: Tensor) -> Tensor:
    """The mean squared error of y `[T, B, *features]`, or of its mean over time, as targets are."""
    for read in (y, y.mean(0)):
        if read.shape == targets.shape:
            return mse_loss(read, targets.to(read.dtype))
    expected = f"expected targets of shape {list(y.shape)} or {list(y.shape[1:])}"
    raise UserError(message(expected, str(list(targets.shape)), "pass loss=, a function of both"))
