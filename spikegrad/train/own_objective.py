"""A loss of a user's own as an objective: `loss(y, labels)`, or `loss(y)` without labels."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.errors import UserError, message, unknown
from spikegrad.functional.loss import rate_penalty
from spikegrad.functional.readout import over_time
from spikegrad.nn import Tape
from spikegrad.ragged import with_lengths

__all__ = ["OVER", "Loss", "OwnObjective", "Scores", "is_torchs"]

Loss = Callable[..., Tensor]
"""`loss(y, labels)` or `loss(y)` to a scalar, the mean over the batch."""

Scores = str | Callable[[Tensor], Tensor]
"""How an output `[T, B, C]` becomes scores `[B, C]`: a word of `OVER`, or a function."""

OVER = ("mean", "sum", "max", "last", "none")
"""How scores are read over time; with "none" nothing is predicted: no accuracy."""

_NO_CLASSES = (
    *("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "PoissonNLLLoss", "KLDivLoss"),
    *("BCELoss", "BCEWithLogitsLoss", "MultiLabelSoftMarginLoss", "SoftMarginLoss"),
    *("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss", "kl_div"),
    *("binary_cross_entropy", "binary_cross_entropy_with_logits", "soft_margin_loss"),
    "multilabel_soft_margin_loss",
)
"""Torch's losses whose targets are numbers, not classes."""


TAKE = (
    "add a parameter lengths, int64 [B], and leave out what stands behind them, "
    "for example by functional.over_time(y, lengths=lengths)"
)


@dataclass(frozen=True)
class OwnObjective:
    """A function of one's own as what a run minimises.

    Args:
        loss: a function or module `loss(y, labels)`, or `loss(y)` where batches have no labels, to
            a scalar. One of torch's (`nn.CrossEntropyLoss()`, `nn.functional.mse_loss`) reads the
            scores `[B, C]`; any other reads the whole output `[T, B, C]`.
        over: how scores are read: "mean", "sum", "max" or "last" over time, a function from
            `[T, B, C]` to `[B, C]`, or "none" where nothing shall be predicted.
        classes: whether the largest score is a prediction.
        rate_lower, rate_upper, rate_weight: the penalty on firing rates, as in `Objective`.
    Raises:
        TypeError: the loss is a class or cannot be called.
        UserError: an unknown word, or a loss with parameters of its own.

    >>> y = torch.zeros(5, 1, 2); y[:, 0, 1] = 1.0
    >>> objective = OwnObjective(nn.CrossEntropyLoss())
    >>> round(objective(y, torch.tensor([1])).item(), 4), objective.scores(y).tolist()
    (0.3133, [[0.0, 1.0]])
    """

    loss: Loss
    over: Scores = "mean"
    classes: bool = True
    rate_lower: float = 0.0
    rate_upper: float = 1.0
    rate_weight: float = 0.0

    def __post_init__(self) -> None:
        check_loss(self.loss)
        if not callable(self.over) and self.over not in OVER:
            raise UserError(unknown("scores", self.over, OVER) + ", or give a function")
        if self.over == "none" or torch_name(self.loss) in _NO_CLASSES:
            object.__setattr__(self, "classes", False)

    def __call__(
        self, y: Tensor, labels: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> Tensor:
        """The loss of an output `[T, B, C]`; labels as the loss wants them, `[B, ...]`; lengths:
        the steps of every sample, which a loss that is not one of torch's is given by this name.
        """
        if is_torchs(self.loss):
            loss, read = self.loss, self.scores(y, lengths=lengths)
        else:
            loss, read = with_lengths(self.loss, lengths, "an objective", TAKE), whole(y)
        value = loss(read) if labels is None else loss(read, labels)
        if not isinstance(value, Tensor) or value.dim():
            got = f"{type(value).__name__}"
            got = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else got
            expected = "expected the objective to return the loss as a tensor without dimensions"
            raise TypeError(message(expected, got, "take the mean over the batch: .mean()"))
        return value

    def scores(self, y: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """The scores `[B, C]` of an output `[T, B, C]`."""
        if callable(self.over):
            found: Tensor = with_lengths(self.over, lengths, "scores=", TAKE)(whole(y))
            return found
        over: Any = "mean" if self.over == "none" else self.over
        return over_time(whole(y), over, lengths=lengths)

    def penalty(self, tapes: Mapping[str, Tape]) -> Tensor | float:
        """The firing-rate penalty of the recorded layers, weighted; 0.0 when it is off."""
        return penalty_of(self, tapes)

    def placed(self, device: torch.device, dtype: torch.dtype) -> OwnObjective:
        """The same with the tensors of a loss module (class weights) on a device, as a copy."""
        if not isinstance(self.loss, nn.Module):
            return self
        return replace(self, loss=copy.deepcopy(self.loss).to(device, dtype))


def check_loss(loss: Any) -> None:
    """Refuse what is no loss function.

    >>> check_loss(nn.MSELoss)
    Traceback (most recent call last):
        ...
    TypeError: expected objective as a name, an Objective or a function loss(y, labels), got the ...
    """
    expected = "expected objective as a name, an Objective or a function loss(y, labels)"
    if isinstance(loss, type):
        remedy = f"pass an object of it: {loss.__name__}()"
        raise TypeError(message(expected, f"the class {loss.__name__}", remedy))
    if not callable(loss):
        raise TypeError(message(expected, repr(loss)))
    if isinstance(loss, nn.Module) and any(p.requires_grad for p in loss.parameters()):
        expected = "expected an objective without parameters of its own"
        remedy = "fit trains only those of the network: put them there, or set requires_grad=False"
        raise UserError(message(expected, type(loss).__name__, remedy))


def penalty_of(objective: Any, tapes: Mapping[str, Tape]) -> Tensor | float:
    """The penalty on firing rates that an objective asks for; 0.0 when it is off."""
    if not objective.rate_weight:
        return 0.0
    for name, tape in tapes.items():
        if tape.signed:  # positive and negative spikes would cancel
            raise UserError(
                message(
                    "expected no penalty on firing rates with spikes of two signs",
                    f"layer {name} with spike='ternary'",
                    "set rate_weight=0",
                )
            )
    lower, upper = objective.rate_lower, objective.rate_upper
    terms = [rate_penalty(tape.real.spikes, lower=lower, upper=upper) for tape in tapes.values()]
    return objective.rate_weight * sum(terms[1:], terms[0]) if terms else 0.0


def is_torchs(loss: Loss) -> bool:
    """Whether a loss is one of torch's, or made from one.

    >>> is_torchs(nn.MSELoss()), is_torchs(functools.partial(nn.functional.cross_entropy))
    (True, True)
    """
    return bool(torch_name(loss))


def torch_name(loss: Loss) -> str:
    """The name of the loss of torch that this one is or extends; "" for any other."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    if isinstance(loss, nn.Module):
        kinds = [kind for kind in type(loss).__mro__ if kind.__module__ == "torch.nn.modules.loss"]
        return kinds[0].__name__ if kinds else ""
    name = getattr(loss, "__name__", "")
    return name if getattr(nn.functional, name or "_", None) is loss else ""


def whole(y: Tensor) -> Tensor:
    """An output in single precision at least."""
    return y.float() if y.dtype in (torch.float16, torch.bfloat16) else y
