"""The spikes of neurons before they are numbers: bits, with any number of readers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad import kernels
from spikegrad.nn.lazy import Lazy
from spikegrad.nn.now import NOW

__all__ = ["Signal", "as_bits"]


class Signal(Lazy):
    """`[T, B, N]` as a backend's layer passed it on; spikes: an object of that backend's type.

    Connections of the same backend read the bits, each with a gradient of its own; everything else
    reads numbers, which are made once.
    """

    __slots__ = ("backend", "spikes")

    def __init__(self, spikes: Any, backend: str) -> None:
        super().__init__()
        self.spikes, self.backend = spikes, backend

    def compute(self) -> Tensor:
        """Zeros and ones."""
        return kernels.unpacked(self.spikes, self.backend)

    @property
    def shape(self) -> torch.Size:
        """`[T, B, N]`, of bits too."""
        shape: torch.Size = self.spikes.shape
        return shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers."""
        dtype: torch.dtype = self.spikes.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """Of the bits."""
        device: torch.device = self.spikes.device
        return device

    @property
    def _version(self) -> int:
        """What counts changes in place: nothing changes bits."""
        return 0 if self.known is None else self.known._version

    def like(self) -> Tensor:
        """Zeros of the numbers' shape and dtype, without memory."""
        whole: Tensor = self.spikes.whole
        return whole

    def dim(self) -> int:
        """3, of bits too."""
        return len(self.shape)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.numbers().__deepcopy__(memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.numbers().__reduce_ex__(protocol)


def as_bits(x: Tensor, backend: str) -> Any:
    """The zeros and ones of x as a backend's layers read them, packed once in a run of a flow; None
    for other values.
    """
    kept = {} if NOW.keeper is None else NOW.keeper.bits
    known = kept.get((id(x), backend))
    if known is None or known[0] is not x or known[1] != x._version:
        known = kept[id(x), backend] = (x, x._version, kernels.packed(x, backend))
    return known[2]
