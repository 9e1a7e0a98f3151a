"""Batch norms that know the step: TEBN and BNTT. Which step it is, is their state.

TEBN: y[t] = p[t] (gamma (x[t] - mean)/sqrt(var + eps) + beta), moments over time and batch.
BNTT: y[t] = gamma[t] (x[t] - mean[t])/sqrt(var[t] + eps), moments over the batch at each step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.checks import check_current
from spikegrad.errors import UserError, message
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.stateful import Stateful
from spikegrad.types import StepState

__all__ = ["BNTT", "TEBN"]


class StepNorm(Stateful):
    """What both share: the number of steps, and the step that a sequence has come to."""

    has_neurons = False

    def __init__(self, features: int, steps: int) -> None:
        super().__init__()
        for name, value in (("features", features), ("steps", steps)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(message(f"expected {name} as a whole number", repr(value)))
            if value < 1:
                raise UserError(message(f"expected {name} >= 1", str(value)))
        self.features, self.steps = features, steps

    def begin(self, x: Tensor, state: Any) -> tuple[int, StepState]:
        """The first step of x `[T, B, ...]`, and the state behind its last one."""
        check_current(x)
        if state is not None and not isinstance(state, StepState):
            remedy = "pass the state that this layer returned, or None to start"
            raise UserError(message("expected a StepState", type(state).__name__, remedy))
        now = x.new_zeros(x.shape[1], dtype=torch.int64) if state is None else state.step
        first = int(now[0]) if len(now) else 0
        if now.shape != x.shape[1:2] or bool((now != first).any()):
            expected = f"expected the same step of {x.shape[1]} samples"
            raise UserError(message(expected, str(now.tolist())))
        if first + x.shape[0] > self.steps:
            raise UserError(
                message(
                    f"expected a sequence of at most {self.steps} steps",
                    str(first + x.shape[0]),
                    f"{type(self).__name__} has parameters of each step: make it with more steps",
                )
            )
        return first, StepState(now + x.shape[0])

    def extra_repr(self) -> str:
        return f"{self.features}, steps={self.steps}"


class TEBN(StepNorm):
    """Temporal effective batch norm, x `[T, B, C]` or `[T, B, C, H, W]`: `layer(x, state=None)`.

    features: C; steps: of the longest sequence, each with a learned factor; the rest as
    `BatchNorm`. State: `StepState`. In training the moments are those of the chunk that is seen.
    Raises UserError for more steps, another state, or another number of channels.

    Source: Duan, Ding, Chen, Yu & Huang (2022), "Temporal effective batch normalization in spiking
    neural networks", NeurIPS, eqs. 8-9.

    >>> y, state = TEBN(3, steps=8)(torch.randn(5, 4, 3))
    >>> y.shape, state.step.tolist()
    (torch.Size([5, 4, 3]), [5, 5, 5, 5])
    """

    def __init__(self, features: int, steps: int, **norm: Any) -> None:
        super().__init__(features, steps)
        self.norm = BatchNorm(features, **norm)
        self.factor = nn.Parameter(torch.ones(steps))

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, StepState]:
        """Normalised x, the same shape, and the step behind it."""
        first, after = self.begin(x, state)
        factor = self.factor[first : first + x.shape[0]].to(x.dtype)
        return self.norm(x) * factor.reshape(-1, *[1] * (x.dim() - 1)), after


class BNTT(StepNorm):
    """Batch norm through time, x `[T, B, C]` or `[T, B, C, H, W]`: `layer(x, state=None)`.

    features: C; steps: of the longest sequence: moments and a factor per channel for each; the rest
    as `BatchNorm`. There is no shift. State: `StepState`. Chunks equal the whole, in training too.
    Raises UserError for more steps, another state, another number of channels, or one value per
    channel in training.

    Source: Kim & Panda (2021), "Revisiting batch normalization for training low-latency deep
    spiking neural networks from scratch", Frontiers in Neuroscience 15:773954, eqs. 5-6.

    >>> y, state = BNTT(3, steps=8)(torch.randn(5, 4, 3))
    >>> y.shape, state.step.tolist()
    (torch.Size([5, 4, 3]), [5, 5, 5, 5])
    """

    def __init__(self, features: int, steps: int, **norm: Any) -> None:
        super().__init__(features, steps)
        self.norms = nn.ModuleList(BatchNorm(features, **norm) for _ in range(steps))
        for each in self.norms:
            each.bias = None  # type: ignore[assignment]

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, StepState]:
        """Normalised x, the same shape, and the step behind it."""
        first, after = self.begin(x, state)
        if x.shape[0] == 0:
            return x, after
        steps = zip(self.norms[first : first + x.shape[0]], x.split(1), strict=True)
        return torch.cat([norm(now) for norm, now in steps]), after
