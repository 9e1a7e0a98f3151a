"""The spikes of neurons before they are numbers: bits, with any number of readers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad import kernels
from spikegrad.errors import UserError, message
from spikegrad.nn.lazy import Lazy
from spikegrad.nn.now import NOW

__all__ = ["Signal", "as_bits"]

OF_GRADIENT = ("retain_grad", "register_hook", "register_post_accumulate_grad_hook")
"""Methods that ask for the gradient of a tensor."""


class Signal(Lazy):
    """`[T, B, N]` as a backend's layer passed it on; spikes: an object of that backend's type.

    Connections of the same backend read the bits, each with a gradient of its own; everything else
    reads numbers, which are made once. taken: neurons have read the bits, whose gradient does not
    pass through the numbers.
    """

    __slots__ = ("backend", "spikes", "taken")

    def __init__(self, spikes: Any, backend: str) -> None:
        super().__init__()
        self.spikes, self.backend, self.taken = spikes, backend, False

    def read(self) -> Any:
        """What a layer of the same backend reads: bits, or numbers that may have readers of their
        gradient.
        """
        if self.known is not None and self.known.requires_grad:
            return self.known
        self.taken = True
        return self.spikes

    def __getattr__(self, name: str) -> Any:
        if self.taken and name in OF_GRADIENT:
            raise UserError(
                message(
                    f"expected {name} of spikes before a connection reads them",
                    "spikes that neurons have read as bits, whose gradient would be missing",
                    f"take a copy first, and pass that on: a = a.clone(); a.{name}(...)",
                )
            )
        return super().__getattr__(name)

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
        known = self.known
        return 0 if known is None or known.is_inference() else known._version

    def like(self) -> Tensor:
        """Zeros of the numbers' shape and dtype, without memory."""
        whole: Tensor = self.spikes.whole
        return whole

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.numbers().__deepcopy__(memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.numbers().__reduce_ex__(protocol)


def as_bits(x: Tensor, backend: str) -> Any:
    """The zeros and ones of x as a backend's layers read them, None for other values; of the input
    of a flow they are packed once.
    """
    keeper = NOW.keeper
    if keeper is None or x is not keeper.given or x.is_inference():
        return kernels.packed(x, backend)
    now = (backend, x._version)
    if keeper.bits is None or keeper.bits[0] != now:
        keeper.bits = (now, kernels.packed(x, backend))
    return keeper.bits[1]
