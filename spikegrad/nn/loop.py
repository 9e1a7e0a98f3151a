"""Feedback around any layers: what leaves them comes back to their input some steps later.

y[t] = body(x[t] + back(y[t - delay])), and nothing comes back in the first `delay` steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.checks import check_current, check_finite, check_finite_state
from spikegrad.errors import UserError, message
from spikegrad.nn.branch import Path, as_layers
from spikegrad.nn.flow import Flowing
from spikegrad.nn.sequential import Sequential
from spikegrad.types import LoopState, State

__all__ = ["Loop"]


class Loop(Flowing):
    """Layers with feedback around all of them: `Loop(body, back, delay=1)(x, state=None)`.

    body: a layer or a list of layers, which may contain loops; back: the layers that lead from the
    body's output to its input, for example a `Linear`, a `Conv2d`, or a `Linear` and a leaky
    integrator as a synapse; delay: the steps in between, at least 1. `delay` steps run at once, so
    a longer delay costs less. State: `LoopState`. Layers that use all steps of a sequence, as batch
    norm does in training, see `delay` steps at a time. For one neuron layer and a `Linear`,
    `Recurrent` is the same and faster.
    Raises UserError for a delay below 1, for layers that change the number of steps, and where what
    comes back does not have the shape of the input.

    >>> from spikegrad.nn import LIF, Linear
    >>> loop = Loop([LIF(20.0), Linear(3, 4), LIF(5.0)], Linear(4, 3), delay=2)
    >>> y, state = loop(torch.rand(6, 2, 3))
    >>> y.shape, [fed.shape for fed in state.fed]
    (torch.Size([6, 2, 4]), [torch.Size([2, 3]), torch.Size([2, 3])])
    """

    def __init__(self, body: Path, back: Path, *, delay: int = 1) -> None:
        super().__init__()
        if isinstance(delay, bool) or not isinstance(delay, int):
            raise TypeError(message("expected delay as a whole number of steps", repr(delay)))
        if delay < 1:
            remedy = "a cycle without a delay has no order of computation"
            raise UserError(message("expected a delay of at least 1 step", str(delay), remedy))
        self.body, self.back, self.delay = as_layers(body), as_layers(back), delay
        if len(self.body) == 0:
            raise UserError(message("expected layers in the body of Loop", "none"))

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, LoopState]:
        """The body's output over x `[T, B, *features]`, and the next state."""
        check_current(x)
        check_finite(x)
        body, back, fed = self.parts(state, x)
        outputs = []
        for first in range(0, x.shape[0], self.delay):
            now = x[first : first + self.delay]
            steps = now.shape[0]
            if fed:
                now = now + torch.stack(fed[:steps])
            y, body = run(self.body, now, body)
            check_steps(y, steps, "body")
            came, back = run(self.back, y, back)
            check_steps(came, steps, "back")
            if came.shape != now.shape:
                raise UserError(
                    message(
                        f"expected feedback of the input's shape {list(now.shape[1:])} in Loop",
                        str(list(came.shape[1:])),
                        "give `back` a last layer of that size",
                    )
                )
            new = tuple(came.unbind(0))
            none = came.new_zeros(came.shape[1:])
            fed = (*fed[steps:], *new) if fed else (*[none] * (self.delay - steps), *new)
            outputs.append(y)
        return torch.cat(outputs), LoopState(body, back, fed)

    def parts(self, state: State, x: Tensor) -> tuple[State, State, tuple[Tensor, ...]]:
        """The three parts of a state, at rest where there is none."""
        if state is None:
            return None, None, ()
        check_finite_state(state, "states")
        if not isinstance(state, LoopState) or len(state.fed) != self.delay:
            got = (
                f"{len(state.fed)} steps" if isinstance(state, LoopState) else type(state).__name__
            )
            raise UserError(
                message(
                    f"expected a LoopState with {self.delay} steps of feedback",
                    got,
                    "pass the state that this layer returned, or None to start from rest",
                )
            )
        for fed in state.fed:
            if fed.shape != x.shape[1:]:
                expected = (
                    f"expected feedback of the input's shape {list(x.shape[1:])} in the state"
                )
                raise UserError(message(expected, str(list(fed.shape))))
        return state.body, state.back, tuple(state.fed)

    def extra_repr(self) -> str:
        return f"delay={self.delay}"


def run(path: Sequential, x: Tensor, state: State) -> tuple[Any, State]:
    """Layers over some steps; what enters them was checked with the whole sequence."""
    if len(path) == 0:
        return x, state
    return path(x, state, torch.is_grad_enabled())


def check_steps(y: Any, steps: int, name: str) -> None:
    """An output with as many steps as went in."""
    if not isinstance(y, Tensor):
        remedy = "leave output='both' out: a loop returns one tensor"
        raise TypeError(
            message(f"expected a tensor from the {name} of Loop", type(y).__name__, remedy)
        )
    if y.shape[0] != steps:
        expected = f"expected {steps} steps from the {name} of Loop"
        raise UserError(message(expected, str(y.shape[0]), "use layers that keep the steps"))
