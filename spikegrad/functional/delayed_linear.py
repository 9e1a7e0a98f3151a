"""A connection with delays: what a spike adds to the current arrives some steps later.

c[t, o] = b[o] + sum over inputs j and taps k of  w[o, j, k] s[t - d[o, j] - k, j]
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from spikegrad.checks import check_current, check_state_tensor
from spikegrad.errors import UserError, message
from spikegrad.functional.linear import linear
from spikegrad.types import Edges, PendingState, Taps

__all__ = ["delayed_linear"]


def delayed_linear(
    x: Tensor,
    state: PendingState | None = None,
    *,
    taps: Taps,
    bias: Tensor | None = None,
    edges: Edges | None = None,
) -> tuple[Tensor, PendingState]:
    """A linear connection with delays over a whole sequence.

    x: `[T, B, in]`; state: currents on their way, None for none; taps: of `integer_taps`,
    `interpolated_taps` or `gaussian_taps`, of a weight `[out, in]`, or with edges `[E]`; bias:
    `[out]` or None, without a delay. Returns currents `[T, B, out]` and what is still on its way: a
    spike whose delay reaches beyond the sequence arrives in the next chunk, or never.
    Raises UserError for taps outside [0, most] steps.

    >>> weight, delay = torch.ones(1, 1), torch.tensor([[2.0]])
    >>> from spikegrad.functional import integer_taps
    >>> x = torch.tensor([1.0, 0.0, 0.0, 1.0]).reshape(4, 1, 1)
    >>> y, state = delayed_linear(x, taps=integer_taps(weight, delay, most=3))
    >>> y.flatten().tolist(), state.current.flatten().tolist()
    ([0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0])
    """
    check_current(x)
    check_taps(taps)
    steps, most = x.shape[0], taps.most
    outputs = taps.values.shape[0] if edges is None else edges.outputs
    total = arrived(x, state, outputs, most)
    for delay in range(most + 1):
        weight = tap_at(taps, delay)
        current = linear(x, weight=weight, edges=edges)
        total = total + pad(current, (0, 0, 0, 0, delay, most - delay))
    y = total[:steps] if bias is None else total[:steps] + bias
    return y, PendingState(total[steps:].transpose(0, 1))


def tap_at(taps: Taps, delay: int) -> Tensor:
    """The weight of every synapse at one delay, 0 where it has no tap there."""
    count = taps.values.shape[-1]
    k = (delay - taps.first).expand(taps.values.shape[:-1])
    there = (k >= 0) & (k < count)
    value = taps.values.gather(-1, k.clamp(0, count - 1).long().unsqueeze(-1)).squeeze(-1)
    return torch.where(there, value, torch.zeros_like(value))


def arrived(x: Tensor, state: PendingState | None, outputs: int, most: int) -> Tensor:
    """What was on its way before x, by the step of its arrival: `[T + most, B, out]`."""
    steps, batch = x.shape[:2]
    if state is None:
        return x.new_zeros((steps + most, batch, outputs))
    check_pending(state, x, outputs, most)
    return pad(state.current.transpose(0, 1), (0, 0, 0, 0, 0, steps))


def check_pending(state: object, x: Tensor, outputs: int, most: int) -> None:
    """A state of this connection, `[B, most, out]`."""
    if type(state) is not PendingState:
        raise TypeError(
            message(
                "expected a PendingState or None",
                type(state).__name__,
                "pass the state that this layer returned, or state=None to start from rest",
            )
        )
    like = x.detach().new_empty(()).expand(1, x.shape[1], most, outputs)
    check_state_tensor(state.current, "state.current", like, x.dtype)


def check_taps(taps: Taps) -> None:
    """Taps within [0, most]."""
    first, count = taps.first, taps.values.shape[-1]
    if count < 1:
        raise UserError(message("expected one tap or more a synapse", "none"))
    if torch.compiler.is_compiling() or not first.numel():
        return
    if torch._C._functorch.is_functorch_wrapped_tensor(first):
        return
    low, high = int(first.min()), int(first.max()) + count - 1
    if low < 0 or high > taps.most:
        got = f"taps from {low} to {high}"
        raise UserError(message(f"expected taps within [0, {taps.most}] steps", got))
