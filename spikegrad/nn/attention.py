"""Self-attention between the tokens of one step, of spikes and without a softmax.

q, k, v = spikes of norm(linear(x)) each; y = spikes of norm(linear(spikes of (q k^T) v scale)).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from spikegrad.checks import check_positive
from spikegrad.errors import UserError, message
from spikegrad.nn.base import Neuron
from spikegrad.nn.branch import Residual
from spikegrad.nn.connection import Linear
from spikegrad.nn.lazy import as_numbers
from spikegrad.nn.lif import LIF
from spikegrad.nn.module import Module
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.sequential import Sequential

__all__ = ["SpikingSelfAttention", "spikformer_block"]


def usual() -> Neuron:
    """LIF with a membrane of 2 ms."""
    return LIF(2.0)


class SpikingSelfAttention(Module):
    """Spiking self-attention over tokens, x `[T, B, tokens, dim]`: `layer(x, states=None)`.

    dim: numbers a token; heads: among which they are shared out; scale: of `(q k^T) v`; neuron:
    makes a layer of neurons; threshold: of those behind the attention. Queries, keys and values are
    spikes, so q k^T counts coincidences and needs no softmax; `(q k^T) v` is computed as
    `q (k^T v)` where that takes fewer operations, which is the same.
    Raises UserError where heads do not divide dim.

    Source: Zhou, Zhu, He, Wang, Yan, Tian & Yuan (2023), "Spikformer: when spiking neural network
    meets transformer", ICLR, eqs. 5-7.

    >>> import torch
    >>> y, _ = SpikingSelfAttention(8, heads=2)(torch.rand(4, 3, 5, 8))
    >>> y.shape
    torch.Size([4, 3, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        *,
        scale: float = 0.125,
        neuron: Callable[[], Neuron] = usual,
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("heads", heads)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(message(f"expected {name} as a whole number >= 1", repr(value)))
        if dim % heads:
            raise UserError(message(f"expected heads that divide dim={dim}", str(heads)))
        check_positive(scale, "scale")
        self.dim, self.heads, self.scale = dim, heads, scale
        self.query, self.key, self.value = (projection(dim, dim, neuron) for _ in range(3))
        self.attend = LIF(2.0, threshold=threshold)
        self.out = projection(dim, dim, neuron)

    def flow(self, x: Tensor) -> Any:
        """Spikes `[T, B, tokens, dim]`."""
        if x.dim() != 4 or x.shape[-1] != self.dim:
            expected = f"expected x [T, B, tokens, {self.dim}]"
            raise UserError(message(expected, str(list(x.shape))))
        q, k, v = (self.by_head(each(x)) for each in (self.query, self.key, self.value))
        tokens, size = q.shape[-2:]
        if tokens > size:
            found = q @ (k.transpose(-1, -2) @ v)
        else:
            found = (q @ k.transpose(-1, -2)) @ v
        found = (self.scale * found).transpose(2, 3).flatten(-2)
        return self.out(self.attend(found))

    def by_head(self, x: Tensor) -> Tensor:
        """`[T, B, tokens, dim]` as `[T, B, heads, tokens, dim/heads]`."""
        numbers: Tensor = as_numbers(x)
        return numbers.unflatten(-1, (self.heads, -1)).transpose(2, 3)

    def extra_repr(self) -> str:
        return f"{self.dim}, heads={self.heads}, scale={self.scale:g}"


def projection(inputs: int, outputs: int, neuron: Callable[[], Neuron]) -> Sequential:
    """A connection from tokens to tokens, its norm and its neurons."""
    return Sequential(Linear(inputs, outputs, bias=False), BatchNorm(outputs, axis=-1), neuron())


def spikformer_block(
    dim: int, heads: int = 8, *, ratio: float = 4.0, neuron: Callable[[], Neuron] = usual
) -> Sequential:
    """A block of a Spikformer: self-attention, then two connections, each with a skip connection.

    dim, heads, neuron: see `SpikingSelfAttention`; ratio: size of the middle layer, times dim.
    x and y `[T, B, tokens, dim]`; y counts spikes, because skip connections add them.

    Source: Zhou et al. (2023), as above, eqs. 3-4.

    >>> import torch
    >>> y, _ = spikformer_block(8, heads=2)(torch.rand(4, 3, 5, 8))
    >>> y.shape
    torch.Size([4, 3, 5, 8])
    """
    check_positive(ratio, "ratio")
    middle = max(1, round(dim * ratio))
    perceptron = [projection(dim, middle, neuron), projection(middle, dim, neuron)]
    attention = SpikingSelfAttention(dim, heads, neuron=neuron)
    return Sequential(Residual(attention), Residual(perceptron))
