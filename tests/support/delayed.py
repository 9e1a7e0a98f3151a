"""Dyadic numbers, delays and taps for the tests of connections with delays."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.functional.taps import gaussian_taps, integer_taps, interpolated_taps
from spikegrad.kernels.cpu.spikes import Spikes
from spikegrad.nn.connectivity import connect
from spikegrad.types import Edges, Taps

SIGMA = {"narrow": 0.4, "wide": 2.0}
"""Of Gaussians (steps)."""


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
    return gaussian_taps(weight, delay, most=most, sigma=SIGMA[kind])


def edges_of(inputs: int, outputs: int) -> Edges:
    mask = torch.rand(outputs, inputs, generator=torch.Generator().manual_seed(0)) < 0.4
    mask[:, 1::5] = False
    mask[0, 0] = True
    return connect(mask, inputs, outputs).edges


def input_of(kind: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    if kind == "zeros":
        return torch.zeros(shape, dtype=dtype)
    some = drawn(1, shape, dtype) > 0.5
    return some.to(dtype) if kind == "spikes" else drawn(2, shape, dtype) * some


def as_bits(x: Tensor, form: str) -> Spikes:
    """Spikes whose edge has a value for each element, or for the places of a support alone."""
    bits, _ = torch.ops.spikegrad.pack(x.detach())
    if form == "numbers":
        return Spikes(x, bits, None, x.shape[2])
    support, _ = torch.ops.spikegrad.pack((drawn(9, tuple(x.shape), x.dtype) > 0.4).to(x.dtype))
    if form == "everywhere":
        return Spikes(x, bits, support, x.shape[2])
    return Spikes(torch.ops.spikegrad.take_places(x, support), bits, support, x.shape[2])
