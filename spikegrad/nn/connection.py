"""Connections without memory, over time: `[T, B, ...] -> [T, B, ...]`.

Each is torch's own module with time folded into the batch; weights and names are torch's, and a
static input is computed once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, is_autocast_enabled, nn
from torch.autograd import forward_ad

from spikegrad import kernels
from spikegrad.checks import check_current, check_like
from spikegrad.errors import UserError, message
from spikegrad.kernels import check_backend
from spikegrad.nn.base import plain
from spikegrad.nn.current import Current, Layer, Source
from spikegrad.nn.edged import Edged
from spikegrad.nn.fold import fold, is_static
from spikegrad.nn.lazy import as_numbers
from spikegrad.nn.now import NOW
from spikegrad.nn.signal import Signal
from spikegrad.types import Backend

__all__ = ["AvgPool2d", "Conv2d", "Flatten", "Linear", "MaxPool2d"]


def check_features(layer: str, x: Tensor, shape: str, size: int | None, position: int) -> None:
    """An x of the rank that shape shows, with `size` features at a position."""
    check_current(x)
    rank = shape.count(",") + 1
    if x.dim() == rank and (size is None or x.shape[position] == size):
        return
    raise UserError(
        message(
            f"expected {layer}'s input as {shape}",
            str(list(x.shape)),
            f"time T first, batch B second (here T={x.shape[0]}, B={x.shape[1]})",
        )
    )


def pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    """One number for both directions, or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def may_wait(x: Any) -> bool:
    """Whether a product of x may be computed later: nothing but this thread's eager torch looks."""
    return (
        not torch.compiler.is_compiling()
        and (x.known is None if type(x) is Signal else type(x) is Tensor and not x.is_inference())
        and not is_autocast_enabled(x.device.type)
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
    )


class Linear(Layer, Edged, nn.Linear):
    """`y = x W^T + b` at every step, x `[T, B, in]`, y `[T, B, out]`, or `[T, B, *, in]` and out.

    connectivity: which synapses exist, None for all: a density (float in (0, 1]), a fan-in (int), a
    mask (bool `[out, in]`), edges (int `[E, 2]`, rows of from and to), a SciPy sparse matrix
    `[out, in]` whose entries are the first weights, or the `edges` of another layer. Then the
    weight is `[E]`, ordered by the neuron that sends and within it by the one that receives, memory
    and time follow the synapses, and the state dict holds them (docs/sparse.md); generator: draws
    synapses and first weights. backend: "auto" takes the product along the spikes where x is sparse
    spikes in float32 on a CPU; "reference" is torch's own product, always, with the dense matrix.
    Raises UserError or TypeError for a connectivity without a synapse, with one twice or out of
    range, or of another shape or kind.

    >>> import torch
    >>> Linear(3, 2)(torch.ones(4, 5, 3)).shape
    torch.Size([4, 5, 2])
    >>> sparse = Linear(3, 2, connectivity=[[0, 1], [2, 0]])
    >>> sparse.weight.shape, sparse(torch.ones(4, 5, 3)).shape
    (torch.Size([2]), torch.Size([4, 5, 2]))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        connectivity: Any = None,
        generator: torch.Generator | None = None,
        backend: Backend = "auto",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_backend(backend)
        if connectivity is None:
            if generator is not None:
                got = "none, and a generator"
                raise UserError(message("expected a connectivity to draw", got, "omit it"))
            super().__init__(in_features, out_features, bias, device, dtype)
            self.start_dense()
        else:
            nn.Module.__init__(self)
            self.in_features, self.out_features = in_features, out_features
            self.start_sparse(connectivity, bias, generator, device, dtype)
        self.backend = backend

    def __call__(self, x: Any) -> Any:
        """The currents; within `Module.flow` for the neurons to compute."""
        if type(x) is not Signal or x.known is not None:
            x = as_numbers(x)
        if NOW.keeper is None or not may_wait(x) or not plain(self, Linear):
            return super().__call__(x)
        if x.dim() > 3 or any(p.is_inference() for p in self.parameters()):
            return super().__call__(x)  # of an inference tensor nobody counts the changes
        try:
            self.check(x)
        except (UserError, TypeError) as error:
            NOW.keeper.name(error, self)
            raise
        return Current(Source.of(self, x, (*x.shape[:2], self.out_features)))

    def check(self, x: Tensor | Signal) -> None:
        """An input that fits."""
        if isinstance(x, Signal):
            x = x.like()
        check_current(x)
        if x.dim() < 3 or x.shape[-1] != self.in_features:
            flat = x.dim() > 3 and x[0, 0].numel() == self.in_features
            remedy = f"time T first, batch B second (here T={x.shape[0]}, B={x.shape[1]})"
            expected = f"expected Linear's input as [T, B, {self.in_features}]"
            more = "; put a Flatten before it" if flat else ""
            raise UserError(message(expected, str(list(x.shape)), remedy + more))
        check_like(x, self.weight, "Linear")

    def forward(self, x: Tensor | Signal) -> Tensor:
        """Currents `[T, B, *, out]` from x `[T, B, *, in]`."""
        self.check(x)
        if isinstance(x, Signal):
            args: dict[str, Any] = {"weight": self.weight, "edges": self.edges}
            if kernels.choose("linear", self.backend, x.spikes, args).backend == x.backend:
                return kernels.linear(x.spikes, **args, bias=self.bias, backend=self.backend)
            x = x.numbers()
        if x.dim() > 3:
            return self.forward(x.flatten(1, -2)).unflatten(1, x.shape[1:-1])
        edges = self.edges
        if is_static(x) and edges is None:
            return fold(super().forward, x)
        once = x[:1] if is_static(x) else x
        y = kernels.linear(
            once, weight=self.weight, bias=self.bias, edges=edges, backend=self.backend
        )
        return y.expand(x.shape[0], *y.shape[1:])

    def extra_repr(self) -> str:
        edges = self.edges
        if edges is None:
            return super().extra_repr()
        share = len(edges.targets) / (self.in_features * self.out_features)
        return f"{super().extra_repr()}, synapses={len(edges.targets)} ({100 * share:.3g} %)"


class Conv2d(Layer, nn.Conv2d):
    """`torch.nn.Conv2d` at every step, x `[T, B, C, H, W]`. Arguments: torch's, and backend.

    backend: "auto" takes the convolution along the spikes where x is sparse spikes in float32 on a
    CPU; "reference" is torch's own, always.

    >>> import torch
    >>> Conv2d(1, 8, 3, padding=1)(torch.ones(4, 2, 1, 6, 6)).shape
    torch.Size([4, 2, 8, 6, 6])
    """

    def __init__(self, *args: Any, backend: Backend = "auto", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_backend(backend)
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        """Currents `[T, B, C', H', W']` from x `[T, B, C, H, W]`."""
        check_features("Conv2d", x, f"[T, B, {self.in_channels}, H, W]", self.in_channels, 2)
        check_like(x, self.weight, "Conv2d")
        if self.padding_mode != "zeros":
            return fold(super().forward, x)
        once = x[:1] if is_static(x) else x
        y = kernels.conv2d(
            once,
            weight=self.weight,
            bias=self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            backend=self.backend,
        )
        return y.expand(x.shape[0], *y.shape[1:])


class AvgPool2d(Layer, nn.AvgPool2d):
    """`torch.nn.AvgPool2d` at every step, x `[T, B, C, H, W]`."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean over windows of x `[T, B, C, H, W]`."""
        check_features("AvgPool2d", x, "[T, B, C, H, W]", None, 2)
        return fold(super().forward, x)


class MaxPool2d(Layer, nn.MaxPool2d):
    """`torch.nn.MaxPool2d` at every step, x `[T, B, C, H, W]`; of spikes: whether any spiked."""

    def forward(self, x: Tensor) -> Any:
        """The maximum over windows of x `[T, B, C, H, W]`."""
        check_features("MaxPool2d", x, "[T, B, C, H, W]", None, 2)
        if self.return_indices or self.ceil_mode or pair(self.dilation) != (1, 1):
            return fold(super().forward, x)
        y = kernels.max_pool2d(
            x[:1] if is_static(x) else x,
            kernel=pair(self.kernel_size),
            stride=pair(self.stride),
            padding=pair(self.padding),
        )
        return y.expand(x.shape[0], *y.shape[1:])


class Flatten(Layer):
    """Features flattened, time and batch kept: `[T, B, *features] -> [T, B, N]`.

    >>> import torch
    >>> Flatten()(torch.ones(4, 2, 1, 6, 6)).shape
    torch.Size([4, 2, 36])
    """

    def forward(self, x: Tensor) -> Tensor:
        """x `[T, B, *features]` as `[T, B, N]`."""
        check_current(x)
        return fold(lambda rows: rows.flatten(1) if rows.dim() > 1 else rows.unsqueeze(1), x)
