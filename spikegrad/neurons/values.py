"""Functions of a parameter alone: a number in a step's defaults, a tensor in a layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.types import Value

__all__ = ["share", "sustained", "turn"]

SHORTEST, LONGEST = 1e-30, 1.0 - 1e-7
"""The decays between which `share` takes a logarithm."""
LEAST = 1e-6
"""The least value below the root of `sustained`: its gradient stays finite."""


def share(decay: Value) -> Value:
    """`dt/tau` of a decay per step `exp(-dt/tau)`, kept within about 1e-7 and 69.

    In float32 the decay of a very short time constant is 0, and that of a very long one 1.

    >>> round(share(math.exp(-0.1)), 6)
    0.1
    """
    if isinstance(decay, Tensor):
        return -torch.log(torch.clamp(decay, min=SHORTEST, max=LONGEST))
    return -math.log(min(max(decay, SHORTEST), LONGEST))


def turn(angle: Value) -> tuple[Value, Value]:
    """Cosine and sine of an angle per step (rad).

    >>> turn(0.0)
    (1.0, 0.0)
    """
    if isinstance(angle, Tensor):
        return torch.cos(angle), torch.sin(angle)
    return math.cos(angle), math.sin(angle)


def sustained(angle: Value) -> Value:
    """`sqrt(1 - angle^2) - 1`: the damping per step at which Euler's rotation keeps its length.

    >>> round(sustained(0.6), 6)
    -0.2
    """
    below = 1.0 - angle * angle
    if isinstance(below, Tensor):
        root: Tensor = torch.sqrt(torch.clamp(below, min=LEAST))
        return root - 1.0
    return math.sqrt(max(below, LEAST)) - 1.0
