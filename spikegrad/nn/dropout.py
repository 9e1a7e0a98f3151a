"""Dropout that keeps its mask over time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.checks import check_choice, check_current, check_state
from spikegrad.errors import UserError, message
from spikegrad.nn.base import Stateful
from spikegrad.nn.current import reads_packed
from spikegrad.ragged import Packed
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

    @reads_packed
    def forward(self, x: Tensor | Packed, state: State = None) -> tuple[Any, State]:
        """Drop features of x `[T, B, *features]`; return what is left and the mask."""
        if type(x) is Packed:
            return self.packed(x, state)
        assert isinstance(x, Tensor)
        check_current(x)
        if not self.training or self.p == 0.0:
            return x, state
        if self.over_time == "independent":
            return x * self.mask(x), None
        if state is None:
            state = DropoutState(self.mask(x[0]))
        check_state(state, DropoutState, x, x.dtype)
        return x * state.mask, state

    def packed(self, x: Packed, state: State) -> tuple[Packed, State]:
        """The same of sequences of different length; masks are drawn in the order of the batch."""
        rows, packing = x.rows, x.packing
        if not self.training or self.p == 0.0:
            return x, state
        if self.over_time == "independent":
            return x.map(lambda _: rows * self.mask(rows)), None
        if state is None:
            drawn = self.mask(rows[0, :1].expand(packing.batch, *rows.shape[2:]))
            state = DropoutState(drawn[packing.order.to(drawn.device)])
        check_state(state, DropoutState, rows[:, : packing.active], rows.dtype)
        return x.map(lambda _: rows * state.mask[packing.runs.to(rows.device)]), state

    def mask(self, x: Tensor) -> Tensor:
        """A mask of x's shape, scaled so that the mean is kept."""
        keep = 1.0 - self.p
        drawn = torch.empty_like(x, memory_format=torch.contiguous_format)
        return drawn.bernoulli_(keep, generator=self.generator) / keep

    def extra_repr(self) -> str:
        return f"p={self.p}, over_time={self.over_time!r}"
