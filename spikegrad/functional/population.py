"""Population readout: several output neurons for each class."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from spikegrad.checks import check_choice, check_current
from spikegrad.errors import UserError, message

__all__ = ["check_classes", "population"]


def population(y: Tensor, classes: int, *, how: Literal["mean", "sum"] = "mean") -> Tensor:
    """The outputs of each class's neurons, averaged or summed at every step.

    The N outputs are cut into as many groups of neighbours as there are classes: with 6 outputs
    and 2 classes, neurons 0, 1, 2 vote for class 0. The mean over time of the result is the
    population's rate (per neuron with "mean"), so every loss of this room reads it.

    Args:
        y: outputs `[T, B, N]`, N a multiple of classes.
        classes: the number of classes, C.
        how: "mean" or "sum" over the neurons of a class.
    Returns:
        `[T, B, C]`. Differentiable.
    Raises:
        UserError: another rank, N no multiple of classes.
    Source: Bohte, Kok & La Poutré (2002), Neurocomputing 48, use populations on the input side;
        rates over output groups: Diehl & Cook (2015), Front. Comput. Neurosci. 9:99.

    >>> import torch
    >>> population(torch.tensor([[[1.0, 0, 1, 1]]]), 2).tolist()
    [[[0.5, 1.0]]]
    """
    check_choice(how, "how", ("mean", "sum"))
    check_classes(classes)
    check_current(y, name="y")
    if y.dim() != 3 or y.shape[2] % classes or not y.shape[2]:
        expected = f"expected y of shape [T, B, N] with N a multiple of {classes} classes"
        remedy = "give the last layer n * classes neurons"
        raise UserError(message(expected, str(list(y.shape)), remedy))
    groups = y.unflatten(2, (classes, -1))
    return groups.mean(3) if how == "mean" else groups.sum(3)


def check_classes(classes: object) -> None:
    """A whole number of classes, at least 1."""
    if isinstance(classes, bool) or not isinstance(classes, int):
        raise TypeError(message("expected classes as a whole number", repr(classes)))
    if classes < 1:
        raise UserError(message("expected classes >= 1", str(classes)))
