"""What a network is looked at on: input, labels and the loss between output and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from spikegrad.diagnose.probe import Loss
from spikegrad.errors import UserError, message
from spikegrad.functional import membrane_cross_entropy, over_time
from spikegrad.ragged import Events, as_frame, check_lengths, with_lengths

__all__ = ["Batch", "batch_of", "criterion_of", "lengths_of"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Input `[T, B, *features]`, labels or None, the loss, what was assumed, in words, and the
    steps of every sample, None for T each.
    """

    x: Tensor
    labels: Any
    loss: Loss
    notes: tuple[str, ...] = ()
    lengths: Tensor | None = None

    @property
    def criterion(self) -> Loss:
        """The loss of an output of these sequences."""
        return criterion_of(self.loss, self.lengths)


def batch_of(
    network: nn.Module, batch: Any, loss: Loss | None = None, lengths: Any = None
) -> Batch:
    """A batch as the caller gave it: x, or (x, labels), or (x, labels, lengths); x may be `Events`,
    whose frame in the network's dtype is made.

    loss: `loss(y, labels)`, or `loss(y)` without labels; None: the cross-entropy of the output's
    mean over time for whole numbers `[B]`, the mean squared error for other targets, a fixed random
    projection of the output without labels; lengths: int64 `[B]`, if the batch has none itself.
    Raises TypeError for something else, UserError for lengths out of range.
    """
    parts = batch if isinstance(batch, (tuple, list)) else (batch,)
    if len(parts) not in (1, 2, 3) or not isinstance(parts[0], (Tensor, Events)):
        got = f"{type(batch).__name__} of {len(parts)}" if len(parts) != 1 else type(batch).__name__
        expected = "expected a batch as x, (x, labels) or (x, labels, lengths), x [T, B, *features]"
        raise TypeError(message(expected, got, "encode the samples before"))
    x, labels, own = (*parts, None, None)[:3]
    x, given = as_frame(network, x, lengths if own is None else own)
    found = lengths_of(x, given)
    if loss is not None:
        return Batch(x, labels, loss, (), found)
    chosen, note = assumed(labels)
    return Batch(x, labels, chosen, (note,), found)


def lengths_of(x: Tensor, lengths: Any) -> Tensor | None:
    """Checked lengths of x `[T, B, ...]`; None where there are none."""
    return None if lengths is None else check_lengths(lengths, *x.shape[:2])


def criterion_of(loss: Loss, lengths: Tensor | None) -> Loss:
    """A loss of outputs whose sequences have these lengths.

    Raises UserError for one that does not take them.
    """
    remedy = "add a parameter lengths, int64 [B], and leave out what stands behind them"
    return with_lengths(loss, lengths, "a loss", remedy)


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


def projection(y: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """The mean of y times fixed random numbers, which no symmetry of the output makes 0; behind the
    lengths y is 0.
    """
    source = torch.Generator().manual_seed(0)
    weight = torch.randn(y.shape, generator=source, dtype=torch.float64)
    mean = (y * weight.to(y.device, y.dtype)).mean()
    return mean if lengths is None else mean * (len(y) * y.shape[1] / int(lengths.sum()))


def squared(y: Tensor, targets: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """The mean squared error of y `[T, B, *features]`, or of its mean over time, as targets are;
    with lengths the mean of those of the samples.
    """
    if y.shape == targets.shape:
        errors = (y - targets.to(y.dtype)) ** 2
        return over_time(errors, "mean", lengths=lengths).mean()
    if y.shape[1:] == targets.shape:
        return mse_loss(over_time(y, "mean", lengths=lengths), targets.to(y.dtype))
    expected = f"expected targets of shape {list(y.shape)} or {list(y.shape[1:])}"
    raise UserError(message(expected, str(list(targets.shape)), "pass loss=, a function of both"))
