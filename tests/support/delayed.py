"""Dyadic numbers, delays and taps for the tests of connections with delays."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.functional.taps import gaussian_taps, integer_taps, interpolated_taps
from spikegrad.types import Taps


def drawn(seed: int, shape: tuple[int, ...], dtype: torch.dtype, most: int = 8) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(-most, most + 1, shape, generator=g).to(dtype) / 8


def delays(seed: int, shape: tuple[int, ...], dtype: torch.dtype, most: int) -> Tensor:
    """Quarters of steps from 0 to most, both ends among them."""
    g = torch.Generator().manual_seed(seed)
    made = torch.randint(0, 4 * most + 1, shape, generator=g).to(dtype) / 4
    made.flatten()[0], made.flatten()[-1] = most, 0
    return made


def taps_of(kind: str, weight: Tensor, delay: Tensor, most: int) -> Taps:
    if kind == "integer":
        return integer_taps(weight, delay, most=most)
    if kind == "interpolation":
        return interpolated_taps(weight, delay, most=most)
    return gaussian_taps(weight, delay, most=most, sigma={"narrow": 0.4, "wide": 2.0}[kind])
