"""The vocabulary every room shares: words for choices, states as values, and the trace of a scan.

A state is a value: a layer takes it, returns the next one and keeps nothing. All states are
`NamedTuple`s of tensors, hence pytrees for `torch.func`, `torch.compile` and `torch.save`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "ALIFState",
    "Backend",
    "CUBAState",
    "DelayedFeedbackState",
    "DelayedState",
    "DropoutState",
    "Edges",
    "Gain",
    "Integration",
    "LIFState",
    "LIState",
    "LearnedDelays",
    "LoopState",
    "Output",
    "PendingState",
    "RecurrentState",
    "Reset",
    "SpikeMode",
    "State",
    "StepState",
    "Taps",
    "Trace",
    "Value",
    "cut",
    "map_state",
]

Reset: TypeAlias = Literal["subtract", "zero", "none"]
SpikeMode: TypeAlias = Literal["binary", "ternary", "multiple", "escape"]
Output: TypeAlias = Literal["spikes", "membrane", "both"]
Gain: TypeAlias = Literal["unit", "leak"]
Integration: TypeAlias = Literal["exponential", "euler"]
Backend: TypeAlias = str
"""A name of `kernels.available()`, or "auto"."""
Value: TypeAlias = "Tensor | float"
State: TypeAlias = Any
"""A NamedTuple below, a tuple of them (a `Sequential`), or None (stateless, or "start at rest")."""


class LIFState(NamedTuple):
    """State of IF and LIF neurons.

    v: membrane after reset `[B, *features]`; refractory: steps of silence left (int32, same
    shape), or None when the neuron has no refractory period.
    """

    v: Tensor
    refractory: Tensor | None = None


class CUBAState(NamedTuple):
    """State of current-based LIF neurons: current `i` and membrane `v`, `[B, *features]`."""

    i: Tensor
    v: Tensor
    refractory: Tensor | None = None


class ALIFState(NamedTuple):
    """State of adaptive LIF neurons: membrane `v` and adaptation `a`, `[B, *features]`."""

    v: Tensor
    a: Tensor
    refractory: Tensor | None = None


class DelayedState(NamedTuple):
    """State of LIF neurons whose reset comes one step later: membrane `u` before the reset, and the
    spikes `s` that reset it, `[B, *features]`.
    """

    u: Tensor
    s: Tensor
    refractory: Tensor | None = None


class LIState(NamedTuple):
    """State of leaky integrators: membrane `v`, `[B, *features]`."""

    v: Tensor


class StepState(NamedTuple):
    """State of layers that know the step: how many steps a sample has seen, int64 `[B]`."""

    step: Tensor


class LoopState(NamedTuple):
    """State of a `Loop`: those of its layers, and what comes back in each of the next `delay`
    steps, of the shape of a step of its input, `[B, *features]`.
    """

    body: Any
    back: Any
    fed: tuple[Tensor, ...]


class RecurrentState(NamedTuple):
    """State of a neuron with feedback: the neuron's own state and its last spikes `s[t-1]`."""

    neuron: State
    s: Tensor


class PendingState(NamedTuple):
    """State of a connection with delays: the currents `[B, most, out]` that have left and not yet
    arrived, of the next step first.
    """

    current: Tensor


class DelayedFeedbackState(NamedTuple):
    """State of a neuron with delayed feedback: the neuron's own state, and the feedback
    `[B, most + 1, N]` that arrives in the next steps.
    """

    neuron: State
    current: Tensor


class DropoutState(NamedTuple):
    """State of dropout over time: the mask, `[B, *features]`, already scaled by `1/(1-p)`."""

    mask: Tensor


class Trace(NamedTuple):
    """What a scan saw, each `[T, B, *features]`.

    current: the input current `x`; membrane: `u` before reset; distance: `u - theta`, what the
    surrogate is evaluated at (None for neurons that never spike); spikes: `s` (None likewise).
    """

    current: Tensor
    membrane: Tensor
    distance: Tensor | None
    spikes: Tensor | None


class Edges(NamedTuple):
    """Which synapses of a connection exist, by the neuron that sends.

    starts: int64 `[inputs + 1]`: the synapses of input j are those from starts[j] to
    starts[j + 1]; targets: int32 `[E]`: the neuron that receives, rising within an input; outputs:
    how many receive. A weight `[E]` beside it has one number a synapse, in the same order.
    """

    starts: Tensor
    targets: Tensor
    outputs: int

    @property
    def inputs(self) -> int:
        """How many neurons send."""
        return self.starts.shape[0] - 1

    def sources(self) -> Tensor:
        """int64 `[E]`: the neuron that sends, synapse by synapse.

        >>> Edges(torch.tensor([0, 2, 2, 3]), torch.tensor([0, 1, 1]), 2).sources().tolist()
        [0, 0, 2]
        """
        each = torch.arange(self.inputs, device=self.starts.device)
        return each.repeat_interleave(self.starts.diff(), output_size=self.targets.shape[0])


class Taps(NamedTuple):
    """What the synapses of a connection with delays do with a spike: each adds K numbers to the
    current, one a step.

    first: int32 of the weight's shape `[out, in]`, or of one that broadcasts to it, or with edges
    `[E]`: after how many steps the first number arrives; values: the weight's shape and K more;
    most: the longest delay (steps), so `first + K - 1 <= most`.
    """

    first: Tensor
    values: Tensor
    most: int


class LearnedDelays(NamedTuple):
    """What taps of learned delays are made of (`functional.taps`).

    weight: `[out, in]`, or with edges `[E]`; delay: of its shape, steps in [0, most]; most: the
    longest delay (steps); sigma: of Gaussians (steps), None for interpolation.
    """

    weight: Tensor
    delay: Tensor
    most: int
    sigma: float | None


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """Apply a function to every tensor of a state.

    >>> map_state(lambda t: t + 1, (LIState(torch.zeros(2)), None))
    (LIState(v=tensor([1., 1.])), None)
    """
    if state is None:
        return None
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, dict):
        return {name: map_state(function, part) for name, part in state.items()}
    mapped = [map_state(function, part) for part in state]
    return type(state)(*mapped) if hasattr(state, "_fields") else tuple(mapped)


def cut(state: State) -> State:
    """The same state with its history cut off: what truncated BPTT carries between chunks.

    >>> v = torch.zeros(2, requires_grad=True)
    >>> cut(LIState(v * 2)).v.requires_grad
    False
    """
    return map_state(torch.Tensor.detach, state)
