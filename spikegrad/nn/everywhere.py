"""torch's layers without a state, at every step: `[T, B, ...] -> [T, B, ...]`.

A `Sequential` takes torch's own layers as they are; these also stand in the `flow` of a `Module`.
"""

from __future__ import annotations

from torch import Tensor, nn

from spikegrad.nn.connection import check_features
from spikegrad.nn.current import Layer
from spikegrad.nn.fold import fold

__all__ = ["AdaptiveAvgPool2d", "Conv1d", "ConvTranspose2d", "GroupNorm"]


class Conv1d(Layer, nn.Conv1d):
    """`torch.nn.Conv1d` at every step, over places: x `[T, B, C, L]`. Arguments: torch's.

    >>> import torch
    >>> Conv1d(2, 4, 3, padding=1)(torch.ones(5, 3, 2, 7)).shape
    torch.Size([5, 3, 4, 7])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Currents `[T, B, C', L']` from x `[T, B, C, L]`."""
        check_features("Conv1d", x, f"[T, B, {self.in_channels}, L]", self.in_channels, 2)
        return fold(super().forward, x)


class ConvTranspose2d(Layer, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` at every step, x `[T, B, C, H, W]`. Arguments: torch's.

    >>> import torch
    >>> ConvTranspose2d(2, 1, 2, stride=2)(torch.ones(5, 3, 2, 4, 4)).shape
    torch.Size([5, 3, 1, 8, 8])
    """

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Currents `[T, B, C', H', W']` from x `[T, B, C, H, W]`."""
        shape = f"[T, B, {self.in_channels}, H, W]"
        check_features("ConvTranspose2d", x, shape, self.in_channels, 2)
        return fold(super().forward, x)


class AdaptiveAvgPool2d(Layer, nn.AdaptiveAvgPool2d):
    """`torch.nn.AdaptiveAvgPool2d` at every step, x `[T, B, C, H, W]`.

    >>> import torch
    >>> AdaptiveAvgPool2d(1)(torch.ones(5, 3, 2, 4, 4)).shape
    torch.Size([5, 3, 2, 1, 1])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Means over windows of x `[T, B, C, H, W]`."""
        check_features("AdaptiveAvgPool2d", x, "[T, B, C, H, W]", None, 2)
        return fold(super().forward, x)


class GroupNorm(Layer, nn.GroupNorm):
    """`torch.nn.GroupNorm` at every step, x `[T, B, C, *]`: each sample at each step by itself.

    Arguments: torch's, num_groups and num_channels.

    >>> import torch
    >>> GroupNorm(2, 4)(torch.rand(5, 3, 4, 6, 6)).shape
    torch.Size([5, 3, 4, 6, 6])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalised x, the same shape."""
        rest = ["*"] * max(0, x.dim() - 3)
        shape = ", ".join(["T", "B", str(self.num_channels), *rest])
        check_features("GroupNorm", x, f"[{shape}]", self.num_channels, 2)
        return fold(super().forward, x)
