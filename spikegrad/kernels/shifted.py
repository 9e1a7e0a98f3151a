"""Whole delays of inputs, or of a connection, are shifts around an ordinary product.

No kernel of its own: the product is `linear` of the chosen backend, along the spikes where that is
cheaper.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from spikegrad.functional.delayed_linear import arrived, check_taps
from spikegrad.types import Edges, PendingState, Taps

__all__ = ["is_shift", "shifted"]


def is_shift(taps: Taps, edges: Edges | None) -> bool:
    """Whether all synapses of an input have one delay, of whole steps."""
    alike = taps.first.dim() == 0 or (edges is None and taps.first.dim() == 1)
    return alike and taps.values.shape[-1] == 1


def shifted(
    product: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    state: PendingState | None,
    taps: Taps,
    bias: Tensor | None,
    outputs: int,
) -> tuple[Tensor, PendingState]:
    """`functional.delayed_linear` of one whole delay an input, or one for all.

    product: currents `[T, B, out]` of x and a weight, without a bias. Raises UserError for delays
    outside [0, most].
    """
    check_taps(taps)
    steps, most, weight = x.shape[0], taps.most, taps.values.squeeze(-1)
    if taps.first.dim() == 0:
        delay = int(taps.first)
        total = pad(product(x, weight), (0, 0, 0, 0, delay, most - delay))
    else:
        total = product(later(x, taps.first, most), weight)
    if state is not None:
        total = total + arrived(x, state, outputs, most)
    y = total[:steps] if bias is None else total[:steps] + bias
    return y, PendingState(total[steps:].transpose(0, 1))


def later(x: Tensor, delay: Tensor, most: int) -> Tensor:
    """`[T + most, B, in]`: every input so many steps later, zeros before and behind."""
    steps, batch, inputs = x.shape
    at = torch.arange(steps + most, device=x.device)[:, None] - delay[None, :]
    there = ((at >= 0) & (at < steps))[:, None, :]
    index = at.clamp(0, steps - 1)[:, None, :].expand(-1, batch, inputs)
    return torch.where(there, x.gather(0, index), x.new_zeros(()))
