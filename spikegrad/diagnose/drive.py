"""Inputs and noise under which a neuron fires, the same for every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikegrad.step.sequence import one_input

__all__ = ["by_chance", "firing_current", "input_shapes"]

LARGEST = 2.0**18
"""The current at which the search for one that makes the neuron fire gives up."""


def by_chance(run: Callable[..., Any], inputs: tuple[str, ...]) -> Callable[..., Any]:
    """The same with escape noise: the same numbers in every call of so many steps."""

    def drawn(x: Tensor, state: Any = None, **named: Any) -> Any:
        one = one_input(x, inputs)
        source = torch.Generator().manual_seed(len(one))
        noise = torch.rand(one.shape, dtype=torch.float64, generator=source)
        return run(x, state, noise=noise.to(x.device, x.dtype), **named)

    return drawn


def input_shapes(
    steps: tuple[int, int], features: tuple[int, ...], inputs: tuple[str, ...]
) -> list[Tensor]:
    """Inputs `[T, B, *features]` up to 1, mostly positive, so that neurons fire; of several,
    `[T, B, inputs, *features]`, each one in turn four times as large as others, which may inhibit.
    """
    several = (len(inputs),) if inputs else ()
    drawn = 1.2 * torch.rand(*steps, *several, *features, dtype=torch.float64) - 0.2
    if not inputs:
        return [drawn]
    shares = 0.25 + 0.75 * torch.eye(len(inputs), dtype=torch.float64)
    return [drawn * share.reshape(-1, *[1] * len(features)) for share in shares]


def firing_current(
    run: Callable[..., Any], shapes: list[Tensor], values: dict[str, Any]
) -> tuple[Tensor, float]:
    """The first of some inputs that makes the neuron fire, and about twice the current at which it
    begins to; the first one and 1 where none does.
    """
    for shape in shapes:
        current = 2.0**-6
        while current < LARGEST:
            if run(shape * current, None, backend="reference", **values)[0].any():
                more = run(shape * 2 * current, None, backend="reference", **values)
                fine = all(part.isfinite().all() for part in more[1] if part is not None)
                return shape, 2 * current if fine else current
            current *= 2
    return shapes[0], 1.0
