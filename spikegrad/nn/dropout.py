"""Dropout that keeps its mask over time."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.checks import check_choice, check_current, check_state
from spikegrad.errors import UserError, message
from spikegrad.nn.base import Stateful
from spikegrad.types import DropoutState, State

__all__ = ["Dropout"]


class Dropout(Stateful):
    """Dropout with one mask for all steps of a sample; the mask is the layer's state.

    A neuron that is dropped stays dropped for the sequence, so a chunked run drops the same
    neurons as a whole one. p: share dropped; over_time: "same" (default), or "independent" per
    step (no state); generator: where masks come from, torch's own by default.
    In `eval()` it returns its input and None.

    >>> layer = Dropout(0.5, generator=torch.Generator().manual_seed(0))
    >>> y, state = layer(torch.ones(3, 1, 4))
    >>> bool((y[0] == y[2]).all())
    True
    """

    has_neurons = False

    def __init__(
        self,
        p: float = 0.5,
        *,
        over_time: str = "same",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise UserError(message("expected p in [0, 1)", str(p)))
        check_choice(over_time, "over_time", ("same", "independent"))
        self.p, self.over_time, self.generator = p, over_time, generator

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Drop features of x `[T, B, *features]`; return what is left and the mask."""
        check_current(x)
        if not self.training or self.p == 0.0:
            return x, state
        if self.over_time == "independent":
            return x * self.mask(x), None
        if state is None:
            state = DropoutState(self.mask(x[0]))
        check_state(state, DropoutState, x, x.dtype)
        return x * state.mask, state

    def mask(self, x: Tensor) -> Tensor:
        """A mask of x's shape, scaled so that the mean is kept."""
        keep = 1.0 - self.p
        drawn = torch.empty_like(x, memory_format=torch.contiguous_format)
        return drawn.bernoulli_(keep, generator=self.generator) / keep

    def extra_repr(self) -> str:
        return f"p={self.p}, over_time={self.over_time!r}"
