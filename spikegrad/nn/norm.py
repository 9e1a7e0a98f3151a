"""Threshold-dependent batch normalisation over time (tdBN).

    y = gamma alpha threshold (x - mean)/sqrt(var + eps) + beta

mean and var per channel over time, batch and space, so that a membrane meets its threshold at a
known number of standard deviations.
Source: Zheng, Wu, Deng, Hu & Li (2021), AAAI 35(12), eqs. 6-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from spikegrad import kernels
from spikegrad.checks import check_current, check_like, check_positive
from spikegrad.errors import UserError, message
from spikegrad.nn.current import Layer
from spikegrad.nn.fold import is_static

__all__ = ["BatchNorm", "is_distributed", "standing_in"]

_standing_in = False


class BatchNorm(Layer):
    """Batch normalisation over time, x `[T, B, C]` or `[T, B, C, H, W]`.

    features: C; threshold, alpha: scale of the result (1 each: ordinary batch norm over T*B); axis:
    where the channels are, 2, or -1 for x `[T, B, *, C]` such as tokens.
    When `torch.distributed` runs, the moments are those of all processes' batches together.
    Raises UserError for another number of channels, or a single value per channel in training.

    >>> y = BatchNorm(3)(torch.randn(5, 8, 3))
    >>> y.shape
    torch.Size([5, 8, 3])
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        features: int,
        *,
        threshold: float = 1.0,
        alpha: float = 1.0,
        eps: float = 1e-5,
        momentum: float = 0.1,
        axis: int = 2,
    ) -> None:
        super().__init__()
        if isinstance(axis, bool) or axis not in (2, -1):
            raise UserError(message("expected axis 2 or -1", repr(axis)))
        self.axis = axis
        for name, value in (("threshold", threshold), ("alpha", alpha), ("eps", eps)):
            check_positive(value, name)
        if not 0.0 <= momentum <= 1.0:
            raise UserError(message("expected momentum in [0, 1]", str(momentum)))
        self.features, self.scale, self.eps, self.momentum = (
            features,
            alpha * threshold,
            eps,
            momentum,
        )
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised x, the same shape."""
        self.check(x)
        if self.axis == -1 and x.dim() > 3:  # a sample's places are as good as samples
            return self.over(x.flatten(1, -2)).unflatten(1, x.shape[1:-1])
        return self.over(x)

    def over(self, x: Tensor) -> Tensor:
        """The same, where the channels are the third dimension."""
        static = is_static(x)
        rows = x[0] if static else x.flatten(0, 1)
        repeats = x.shape[0] if static else 1
        y = self.normalise(rows, repeats)
        return y.expand(x.shape) if static else y.unflatten(0, x.shape[:2])

    def check(self, x: Tensor) -> None:
        """An input of this layer's channels, dtype and device."""
        check_current(x)
        if x.dim() < 3 or x.shape[self.axis] != self.features:
            shape = f"{self.features}, ..." if self.axis == 2 else f"*, {self.features}"
            raise UserError(message(f"expected x [T, B, {shape}]", str(list(x.shape))))
        if x.dtype == torch.float64 or x.device != self.weight.device:  # half types are welcome
            check_like(x, self.weight, "BatchNorm")

    def numbers(
        self, rows: Tensor, repeats: int, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Offset, scale and shift `[C]`: the normalised rows are `(rows + offset) scale + shift`.

        For whoever computes that himself; in training the running moments move, as in `normalise`.
        bias: `[C]`, of the connection before, not yet added to rows.
        """
        if not self.training:
            offset = -self.running_mean if bias is None else bias - self.running_mean
            return offset, self.factor(self.running_var), self.bias
        count = rows.numel() // self.features
        check_count(count, rows)
        mean, var = kernels.moments(rows)
        seen = mean.detach()
        self.remember(seen if bias is None else seen + bias, var.detach(), count * repeats)
        # The mean takes the bias away again: its gradient is 0, and not missing.
        offset = -mean if bias is None else 0.0 * bias - mean
        return offset, self.factor(var), self.bias

    def factor(self, var: Tensor) -> Tensor:
        """What a centred input is multiplied by."""
        return self.weight * self.scale * torch.rsqrt(var + self.eps)

    def normalise(self, rows: Tensor, repeats: int) -> Tensor:
        """Normalise `[rows, C, ...]`, each row standing for `repeats` equal ones."""
        gain = self.weight * self.scale
        if not self.training:
            return batch_norm(
                rows, self.running_mean, self.running_var, gain, self.bias, False, 0.0, self.eps
            )
        if is_distributed():
            return self.normalise_together(rows, repeats, gain)
        count = rows.numel() // self.features
        check_count(count, rows)
        mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        y = batch_norm(rows, mean, var, gain, self.bias, True, 1.0, self.eps)
        self.remember(mean, var * ((count - 1) / count), count * repeats)
        return y

    def normalise_together(self, rows: Tensor, repeats: int, gain: Tensor) -> Tensor:
        """The same over all processes: sums are reduced with their gradients.

        A process that stands in adds nothing to them.
        """
        axes = [0, *range(2, rows.dim())]
        shape = [1, -1, *[1] * (rows.dim() - 2)]
        wide, weight = rows.double(), 0.0 if _standing_in else 1.0
        count = wide.new_full((1,), rows.numel() // self.features)
        total = added_up(torch.cat([wide.sum(axes), count]) * weight)
        n, mean = total[-1], total[:-1] / total[-1]
        check_count(int(n), rows)
        spread = wide - mean.reshape(shape)
        var = added_up(spread.square().sum(axes) * weight) / n
        y = spread * torch.rsqrt(var + self.eps).reshape(shape)
        self.remember(mean, var, int(n) * repeats)
        y = y.to(rows.dtype) * gain.reshape(shape)
        return y if self.bias is None else y + self.bias.reshape(shape)  # BNTT has none

    def remember(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Move the running moments towards this batch's (variance made unbiased)."""
        with torch.no_grad():
            unbiased = var * (count / max(count - 1, 1))
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)

    def extra_repr(self) -> str:
        return f"{self.features}, scale={self.scale:g}, momentum={self.momentum}"


def check_count(count: int, rows: Tensor) -> None:
    """More than one value per channel, over all processes."""
    if count < 2:
        expected, remedy = (
            "expected more than one value per channel",
            "use a larger batch, or eval()",
        )
        raise UserError(message(expected, str(list(rows.shape)), remedy))


@contextmanager
def standing_in(on: bool) -> Iterator[None]:
    """Let what this process computes count for nothing: it has no sample of the batch.

    It runs a network all the same, because the others wait for it in every batch norm.
    """
    global _standing_in
    before, _standing_in = _standing_in, on
    try:
        yield
    finally:
        _standing_in = before


def added_up(x: Tensor) -> Tensor:
    """The sum of x over all processes; its gradient is added up over all processes too."""
    total = x.detach().clone()
    torch.distributed.all_reduce(total)
    if not x.requires_grad:
        return total

    def reduce(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        torch.distributed.all_reduce(gradient)
        return gradient

    own = x.view_as(x)
    own.register_hook(reduce)
    return own + (total - own.detach())


def is_distributed() -> bool:
    """Whether several processes train together."""
    dist = torch.distributed
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
