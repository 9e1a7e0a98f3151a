"""The layer of a population readout."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from spikegrad import functional
from spikegrad.checks import check_choice
from spikegrad.functional.population import check_classes
from spikegrad.nn.current import Layer

__all__ = ["Population"]


class Population(Layer):
    """The last layer of a network with several output neurons per class: `[T, B, N] -> [T, B, C]`.

    classes: C, of which N is a multiple; how: "mean" or "sum" over the neighbouring outputs of a
    class. See `functional.population`. With it every objective, `predict` and `evaluate` read the
    populations: `Sequential(Linear(64, 100), LIF(10.0), Population(10))` has ten neurons a class.

    >>> import torch
    >>> Population(2)(torch.tensor([[[1.0, 0, 1, 1]]])).tolist()
    [[[0.5, 1.0]]]
    """

    def __init__(self, classes: int, *, how: Literal["mean", "sum"] = "mean") -> None:
        super().__init__()
        check_classes(classes)
        check_choice(how, "how", ("mean", "sum"))
        self.classes, self.how = classes, how

    def forward(self, x: Tensor) -> Tensor:
        """The populations `[T, B, C]` of outputs x `[T, B, N]`."""
        return functional.population(x, self.classes, how=self.how)

    def extra_repr(self) -> str:
        """The classes, and how they are read."""
        return f"{self.classes}, how={self.how!r}"
