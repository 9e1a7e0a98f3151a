"""Both ends of a classifier: an encoder before a network, a readout behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from spikegrad.checks import check_choice
from spikegrad.functional import direct, over_time
from spikegrad.ragged import Events
from spikegrad.types import State

__all__ = ["Classifier"]


class Classifier(nn.Module):
    """Encoder, network and readout: the article's `SNNClassifier`, returning scores alone.

    network: any of the above; steps: T of the direct encoding, for static input `[B, *features]`
    (None: the input is a sequence `[T, B, *features]` already); encoder: another encoding,
    `(x, steps) -> [T, B, *features]`; readout: "mean", "sum", "max" or "last" over time.

    >>> import torch
    >>> from spikegrad.nn.models import mlp
    >>> scores = Classifier(mlp(784, [32], 10), steps=5)(torch.rand(2, 784))
    >>> scores.shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        steps: int | None = None,
        encoder: Callable[[Tensor, int], Tensor] = direct,
        readout: Literal["mean", "sum", "max", "last"] = "mean",
    ) -> None:
        super().__init__()
        check_choice(readout, "readout", ("mean", "sum", "max", "last"))
        self.network, self.steps, self.encoder, self.readout = network, steps, encoder, readout

    def forward(self, x: Any, states: State = None, lengths: Tensor | None = None) -> Tensor:
        """Scores `[B, C]`; from states other than rest only when given; lengths: of sequences, the
        steps of every sample; x may be `Events`.
        """
        sequence = x if self.steps is None else self.encoder(x, self.steps)
        how = {} if lengths is None else {"lengths": lengths}
        out = self.network(sequence, states, **how)
        y = out[0] if isinstance(out, tuple) else out
        if isinstance(sequence, Events):
            how = {"lengths": sequence.lengths}
        return over_time(y, self.readout, **how)
