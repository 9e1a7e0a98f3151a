"""How many steps each sequence of a batch has: the checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spikegrad.errors import UserError, message

__all__ = ["as_lengths", "check_lengths", "mask_of"]


def as_lengths(lengths: Any, name: str = "lengths") -> Tensor:
    """Whole numbers of steps as int64 `[B]` on the CPU; a tensor of integers, or a list of ints.

    Raises TypeError for another kind or dtype, UserError for another rank.

    >>> as_lengths([3, 1])
    tensor([3, 1])
    """
    expected = f"expected {name} as a tensor [B] of int64, or a list of whole numbers"
    if isinstance(lengths, Sequence) and not isinstance(lengths, str):
        if any(isinstance(n, bool) or not isinstance(n, int) for n in lengths):
            raise TypeError(message(expected, repr(lengths)[:80]))
        lengths = torch.tensor(lengths, dtype=torch.int64)
    if not isinstance(lengths, Tensor):
        raise TypeError(message(expected, type(lengths).__name__))
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        remedy = f"pass {name}.long()"
        if lengths.dtype == torch.bool:
            remedy = "of a mask [T, B] the lengths are mask.sum(0)"
        raise TypeError(message(expected, str(lengths.dtype), remedy))
    if lengths.dim() != 1:
        raise UserError(
            message(f"expected {name} [B], one for each sample", str(shape_of(lengths)))
        )
    return lengths.detach().to("cpu", torch.int64)


def check_lengths(
    lengths: Any, steps: int, batch: int, *, least: int = 1, name: str = "lengths"
) -> Tensor:
    """The lengths of `batch` samples of up to `steps` steps, int64 `[B]` on the CPU.

    least: 1, or 0 where a sample may have ended before.
    Raises UserError for another number of lengths, and for one below least or above steps; and as
    `as_lengths`.

    >>> check_lengths([3, 1], steps=3, batch=2)
    tensor([3, 1])
    """
    found = as_lengths(lengths, name)
    if len(found) != batch:
        expected = f"expected {name} of {batch} samples, one for each"
        raise UserError(message(expected, str(len(found))))
    low, high = int(found.min()), int(found.max())
    if low >= least and high <= steps:
        return found
    wrong = low if low < least else high
    at = int((found == wrong).nonzero()[0])
    remedy = ""
    if low == 0:
        remedy = "leave samples without a step out of the batch"
        remedy += "; only where states are given may a sample have ended before"
    elif low < 0:
        remedy = "of a chunk that begins at step t the lengths are (lengths - t).clamp(0, T)"
    raise UserError(
        message(f"expected {name} from {least} to T={steps}", f"{wrong} of sample {at}", remedy)
    )


def mask_of(lengths: Tensor, steps: int) -> Tensor:
    """Which steps of a batch are real: bool `[T, B]`, on the lengths' device.

    >>> mask_of(torch.tensor([1, 2]), 2).tolist()
    [[True, True], [False, True]]
    """
    return torch.arange(steps, device=lengths.device).unsqueeze(1) < lengths


def shape_of(x: Tensor) -> list[int]:
    """A shape as messages say it."""
    return list(x.shape)
