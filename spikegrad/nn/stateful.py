"""A layer with a state, the root of all neuron layers."""

from __future__ import annotations

from torch import Tensor

from spikegrad.nn.threaded import Threaded
from spikegrad.types import State

__all__ = ["Stateful"]


class Stateful(Threaded):
    """A layer with a state: `layer(x, state=None) -> (y, state)`, x `[T, B, *features]`.

    has_neurons: whether such a layer counts as neurons; False for one whose state is a mask.
    """

    has_neurons: bool = True

    @property
    def step_ms(self) -> float | None:
        """The step (ms) that the layer's numbers depend on; None of one that counts in steps."""
        return None

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Run over the sequence x from a state (None: rest); return outputs and the next state."""
        raise NotImplementedError
