"""How a kernel gets a surrogate's derivative, and why it has none of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.library import FAMILIES
from spikegrad.surrogate import Surrogate

__all__ = ["amplitude_of", "family_of", "refuse"]


def family_of(record: Surrogate) -> tuple[int, float, float]:
    """A built-in surrogate's number and its shape parameters; -1 for a user's own."""
    if record.name not in FAMILIES:
        return -1, 0.0, 0.0
    values = [value for _, value in record.parameters] + [0.0, 0.0]
    return FAMILIES.index(record.name), values[0], values[1]


def amplitude_of(record: Surrogate, slope: Tensor) -> Tensor:
    """What the derivative of unit slope is multiplied by, `[1 or N]`."""
    if record.normalisation == "area":
        return slope * record.gain
    return torch.full_like(slope, record.gain / record.family.peak(**dict(record.parameters)))


def refuse(ctx: Any, *grads: Tensor) -> None:
    """A kernel's gradient has no gradient: a silent zero would be wrong."""
    raise RuntimeError(
        "expected one backward pass through a CPU kernel, got a second (create_graph=True); "
        "use backend='reference' on the layers, whose gradients can be differentiated again"
    )
